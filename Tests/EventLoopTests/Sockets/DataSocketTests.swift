import EventLoop
import Glibc
import Testing

/// Keeps what a `DataSocket` says, and does what a test wants then.
private final class Owner: DataSocketOwner {
    var onReceive: (DataSocket) -> Void = { _ in }
    var onSend: (DataSocket) -> Void = { _ in }

    func mayReceive(_ socket: DataSocket) { onReceive(socket) }
    func maySend(_ socket: DataSocket) { onSend(socket) }
}

private func send(_ pieces: [UnsafeRawBufferPointer], over socket: DataSocket) -> DataSocket.Outcome {
    var vector = pieces.map { iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.baseAddress), iov_len: $0.count) }
    return vector.withUnsafeMutableBufferPointer { socket.send($0) }
}

private var nowhere: UnsafeMutableRawBufferPointer { .init(start: nil, count: 0) }

@Test func oneCallFillsTwoPiecesAndAnotherFindsNothing() throws {
    let sent = Memory(patternBytes(100))
    let first = Memory(count: 30)
    let second = Memory(count: 200)
    let owner = Owner()
    try withLoop { loop in
        try withPair(loop) { client, server in
            do {
                let receiver = try DataSocket(taking: server)
                let sender = try DataSocket(taking: client)
                #expect(receiver.receive(into: first.bytes, second.bytes) == .notNow)
                receiver.owner = owner
                owner.onReceive = { socket in
                    #expect(socket.receive(into: first.bytes, second.bytes) == .moved(100))
                    #expect(socket.receive(into: nowhere, second.bytes) == .notNow)
                    loop.stop()
                }
                receiver.awaitsReceiving = true
                let halves = [UnsafeRawBufferPointer(rebasing: sent.readOnly[..<64]), UnsafeRawBufferPointer(rebasing: sent.readOnly[64...])]
                #expect(send(halves, over: sender) == .moved(100))
            } catch {
                Issue.record("\(error)")
            }
        }
    }
    #expect(first.contents + second.contents.prefix(70) == sent.contents)
}

@Test func aFullKernelIsWaitedForAndNothingIsLost() throws {
    let body = Memory(patternBytes(8 << 20))
    let arrived = Memory(count: 8 << 20)
    let (sending, receiving) = (Owner(), Owner())
    var sent = 0
    var received = 0
    var refusals = 0
    try withLoop { loop in
        try withPair(loop) { client, server in
            do {
                let sender = try DataSocket(taking: client)
                let receiver = try DataSocket(taking: server)
                func sendMore() {
                    while sent < body.bytes.count {
                        switch send([UnsafeRawBufferPointer(rebasing: body.readOnly[sent...])], over: sender) {
                        case .moved(let count): sent += count
                        case .notNow:
                            refusals += 1
                            sender.awaitsSending = true
                            return
                        case .ended, .failed:
                            Issue.record("sending failed")
                            return
                        }
                    }
                    sender.close()
                }
                sending.onSend = { _ in sendMore() }
                receiving.onReceive = { socket in
                    // Once all has come only the end can follow, and it needs room to be looked for.
                    let room = received < arrived.bytes.count ? UnsafeMutableRawBufferPointer(rebasing: arrived.bytes[received...]) : arrived.bytes
                    switch socket.receive(into: room, nowhere) {
                    case .moved(let count): received += count
                    case .ended: loop.stop()
                    case .notNow: break
                    case .failed(let code): Issue.record("\(code)")
                    }
                }
                sender.owner = sending
                receiver.owner = receiving
                receiver.awaitsReceiving = true
                sendMore()
            } catch {
                Issue.record("\(error)")
            }
        }
    }
    #expect(sent == body.bytes.count && received == sent && refusals > 0)
    #expect(arrived.contents == body.contents)
}

@Test func aResetIsFoundByReceiving() throws {
    let memory = Memory(count: 10)
    let owner = Owner()
    var outcome: DataSocket.Outcome?
    try withLoop { loop in
        try withPair(loop) { client, server in
            do {
                let receiver = try DataSocket(taking: server)
                receiver.owner = owner
                owner.onReceive = { socket in
                    outcome = socket.receive(into: memory.bytes, nowhere)
                    loop.stop()
                }
                receiver.awaitsReceiving = true
                client.reset()
            } catch {
                Issue.record("\(error)")
            }
        }
    }
    #expect(outcome == .failed(.connectionReset))
}

/// The stream's own descriptor is closed; the connection lives until the socket is.
@Test func theConnectionOutlivesTheStreamAndEndsWithTheSocket() throws {
    let collector = Collector(count: 10)
    var livedOn = false
    try withLoop { loop in
        try withPair(loop) { client, server in
            client.receiver = collector
            client.startReading()
            collector.onReceived = { livedOn = true }
            collector.onEnded = loop.stop
            do {
                let socket = try DataSocket(taking: server)
                #expect(server.isClosed)
                let greeting = Memory(patternBytes(3))
                server.close {
                    #expect(send([greeting.readOnly], over: socket) == .moved(3))
                    socket.close()
                }
            } catch {
                Issue.record("\(error)")
            }
        }
    }
    #expect(livedOn && collector.ends == [nil])
}
