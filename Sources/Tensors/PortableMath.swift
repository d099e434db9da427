import CTensorKernels

/// Functions of one number by fixed sequences of basic operations: the same bits on every CPU and with every C library,
/// whose own functions differ from one version to the next.
///
/// For what ends in a run's bits: a data set that is computed, a learning rate, a draw. (Square roots need no such
/// care.)
public enum PortableMath {
    /// cos(2 pi x), error below 1e-15, for |x| below 2^50.
    public static func cosine(turns x: Double) -> Double { tensor_cosine_of_turns(x) }

    /// sin(2 pi x), error below 1e-15, for |x| below 2^50.
    public static func sine(turns x: Double) -> Double { tensor_sine_of_turns(x) }

    /// e^x, within 2 units in the last place; 0 below -708, infinity above 709.78.
    public static func exponential(_ x: Double) -> Double { tensor_exponential(x) }
}
