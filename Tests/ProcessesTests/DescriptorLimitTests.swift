import Glibc
import Processes
import Testing

@Test func theSoftLimitIsRaisedWhereTheHardOneDoes() {
    let limit = DescriptorLimit(soft: 60, hard: 100)
    #expect(limit.answer(to: 60) == .enough)
    #expect(limit.answer(to: 61) == .raise && limit.answer(to: 100) == .raise)
    #expect(limit.answer(to: 101) == .refuse)
}

@Test func whatIsNeededAndWhatThereIsAreNamed() {
    let error = ProcessError.descriptors(needed: 104, limit: DescriptorLimit(soft: 50, hard: 60), purpose: "a launcher of 16 workers")
    #expect(
        error.description
            == "a launcher of 16 workers needs 104 open files, and the limit is 60: raise it (ulimit -n 104), or start fewer workers")
}
