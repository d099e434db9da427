import ArgumentParser
@main struct LockstepCommand: ParsableCommand { }
