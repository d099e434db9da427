import Telemetry
import Testing

struct NumeralsTests {
    @Test(arguments: [
        (0.31237, "0.3124"), (0.31234, "0.3123"), (14.2, "14.20"), (1234.4, "1234"), (1234.5, "1235"), (12345, "12350"),
        (0, "0"), (-0.0, "0"), (1, "1.000"), (-2.5, "-2.500"), (9.99949, "9.999"), (9.9995, "10.00"), (99999, "100000"),
        (9_999_000, "9999000"), (9_999_600, "1.000e7"), (12_340_000, "1.234e7"), (0.0001234, "0.0001234"),
        (0.00001234, "1.234e-5"), (.leastNonzeroMagnitude, "5.000e-324"), (1.7976931348623157e308, "1.798e308"), (.nan, "nan"),
        (.infinity, "inf"), (-.infinity, "-inf"),
    ])
    func significant(value: Double, text: String) {
        #expect(Numerals.significant(value, digits: 4) == text)
    }

    @Test(arguments: [
        (0.0098, "9.8e-3"), (0.00995, "1.0e-2"), (1, "1.0e0"), (0, "0"), (3e-05, "3.0e-5"), (1e16, "1.0e16"),
        (-0.1, "-1.0e-1"), (.nan, "nan"),
    ])
    func scientific(value: Double, text: String) {
        #expect(Numerals.scientific(value, digits: 2) == text)
    }

    @Test(arguments: [
        (14_234, "14.2 k"), (812, "812"), (999.4, "999"), (999.5, "1.00 k"), (3e6, "3.00 M"), (1.5e9, "1.50 G"),
        (2.5e12, "2.50 T"), (1e16, "10000 T"), (0, "0"), (0.5, "0.500"), (0.05, "0.0500"), (7, "7.00"),
        (.infinity, "inf"),
    ])
    func scaled(value: Double, text: String) {
        #expect(Numerals.scaled(value) == text)
    }

    @Test(arguments: [
        (0, "0.0 s"), (0.44, "0.4 s"), (0.94, "0.9 s"), (0.95, "1 s"), (12.3, "12 s"), (59.4, "59 s"), (59.6, "1 min 0 s"),
        (200, "3 min 20 s"), (3599.6, "1 h 0 min"), (7500, "2 h 5 min"), (86399, "1 d 0 h"), (360_000, "4 d 4 h"),
        (-5, "0.0 s"), (.nan, "?"), (.infinity, "?"), (1e18, "?"),
    ])
    func duration(seconds: Double, text: String) {
        #expect(Numerals.duration(seconds: seconds) == text)
    }
}
