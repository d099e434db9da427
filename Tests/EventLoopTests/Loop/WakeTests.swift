import EventLoop
import Synchronization
import Testing

@Test func workFromAnotherThreadRunsInOrderOnTheLoopsThread() throws {
    let loop = try Loop()
    try loop.startThread(name: "loop under test")
    #expect(!loop.isOnThread)
    let seen = Mutex<[Int]>([])
    for index in 0..<10_000 {
        #expect(
            loop.enqueue {
                loop.preconditionOnThread()
                seen.withLock { $0.append(index) }
            })
    }
    loop.stopAndJoin()
    #expect(seen.withLock { $0 } == Array(0..<10_000))
    #expect(!loop.enqueue { Issue.record("ran after the end") })
}

@Test func workEnqueuedOnTheLoopsThreadRunsLater() throws {
    var order: [Int] = []
    try withLoop { loop in
        loop.enqueueHere {
            order.append(1)
            loop.enqueueHere {
                order.append(3)
                loop.stop()
            }
            order.append(2)
        }
        #expect(order.isEmpty)
    }
    #expect(order == [1, 2, 3])
}

/// Numbers put in by any thread, taken out by the loop's.
private final class Inbox: Sendable {
    let numbers = Mutex<[Int]>([])
}

@Test func noRingIsLostHoweverManyThereAre() async throws {
    let loop = try Loop()
    let inbox = Inbox()
    let total = 4 * 25_000
    let (wake, taken) = try await withLoopThread(loop) { () -> (Wake, TakenCount) in
        let taken = TakenCount()
        let wake = try Wake(loop: loop) {
            let batch = inbox.numbers.withLock { numbers in
                defer { numbers.removeAll(keepingCapacity: true) }
                return numbers
            }
            taken.add(batch)
        }
        return (wake, taken)
    }
    await withTaskGroup(of: Void.self) { group in
        for sender in 0..<4 {
            group.addTask {
                for index in 0..<25_000 {
                    inbox.numbers.withLock { $0.append(sender * 25_000 + index) }
                    wake.signal()
                }
            }
        }
    }
    await taken.whenCount(is: total)
    loop.stopAndJoin()
    // After the end a ring is harmless.
    wake.signal()
    #expect(taken.sum == total * (total - 1) / 2)
}

private final class TakenCount: Sendable {
    private let state = Mutex<(count: Int, sum: Int, goal: Int, waiting: CheckedContinuation<Void, Never>?)>(
        (0, 0, Int.max, nil))

    var sum: Int { state.withLock { $0.sum } }

    func add(_ batch: [Int]) {
        state.withLock { state in
            state.count += batch.count
            state.sum += batch.reduce(0, +)
            Self.tell(&state)
        }
    }

    private static func tell(
        _ state: inout sending (count: Int, sum: Int, goal: Int, waiting: CheckedContinuation<Void, Never>?)
    ) {
        guard state.count >= state.goal else { return }
        state.waiting?.resume()
        state.waiting = nil
    }

    func whenCount(is goal: Int) async {
        await withCheckedContinuation { continuation in
            state.withLock { state in
                state.goal = goal
                state.waiting = continuation
                Self.tell(&state)
            }
        }
    }
}

/// Starts the loop's thread and makes something on it.
private func withLoopThread<Made: Sendable>(
    _ loop: Loop, _ make: @escaping @Sendable () throws -> Made
) async throws -> Made {
    try loop.startThread(name: "wake test")
    return try await withCheckedThrowingContinuation { continuation in
        loop.enqueue { continuation.resume(with: Result { try make() }) }
    }
}

@Test func stopFromAnotherThreadEndsRun() throws {
    let loop = try Loop()
    let other = try Loop()
    try other.startThread(name: "stopper")
    other.enqueue { loop.stop() }
    loop.run()
    other.stopAndJoin()
    loop.close()
}

@Test func aThreadMayDriveTheLoopItself() throws {
    let loop = try Loop()
    var runs = 0
    loop.enqueueHere { runs += 1 }
    #expect(loop.runOnce(waiting: true))
    #expect(!loop.runOnce())
    #expect(runs == 1)
    loop.close()
}
