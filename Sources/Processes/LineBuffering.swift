@preconcurrency import Glibc

/// Has standard output written line by line, whatever it is: where it is no terminal the C library would keep some thousand bytes back,
/// which nobody sees until the end, and which are lost with a worker that is killed. What was kept back so far is written.
package func bufferStandardOutputByLines() {
    fflush(stdout)
    setvbuf(stdout, nil, _IOLBF, 0)
}
