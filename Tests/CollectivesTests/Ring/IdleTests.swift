import Collectives
import Glibc
import TestSupport
import Testing

/// A worker that waits for another uses its core for moments only: 1 % of the time at most, whether it waits in an operation itself or
/// its ring's thread does.
@Suite struct IdleTests {
    private static let pause: UInt32 = 1_000_000

    private func threadMicroseconds() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return time.tv_sec * 1_000_000 + time.tv_nsec / 1000
    }

    @Test(arguments: [2, 5]) func whoWaitsSleeps(worldSize: Int) throws {
        try inWorld(of: worldSize) { ring in
            // Operations before, so that looking for bytes has been worth it lately.
            for _ in 0..<100 { try ring.barrier() }
            if ring.rank == 0 {
                usleep(Self.pause)
                try ring.barrier()
                return
            }
            let before = threadMicroseconds()
            try ring.barrier()
            #expect(threadMicroseconds() - before < Int(Self.pause) / 100)
        }
    }
}
