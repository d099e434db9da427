import Checkpoints
import Testing

struct JSONTests {
    private func parse(_ text: String) throws(CheckpointError) -> JSONValue {
        try JSONValue(parsing: Array(text.utf8))
    }

    @Test func everyKindThereAndBack() throws {
        let value: JSONValue = [
            "null": nil, "true": true, "false": false, "zero": 0, "least": .integer(.min), "most": .integer(.max),
            "seed": .unsigned(.max), "double": 0.1, "whole": 3.0, "tiny": .double(.leastNonzeroMagnitude), "huge": 1.7976931348623157e308,
            "negative zero": -0.0, "text": "quote\" \\ / \u{8}\u{c}\n\r\t\u{1}\u{1f} é 🦓", "": [], "nested": [[1, [2, [:]]], "x"],
            "object": ["b": 1, "a": 2],
        ]
        for indented in [false, true] {
            let text = value.serialized(indented: indented)
            let back = try parse(text)
            #expect(back == value)
            #expect(back.serialized(indented: indented) == text)
            #expect(back["negative zero"]?.double?.sign == .minus)
        }
    }

    @Test func spelling() {
        let value: JSONValue = ["b": [1, -2], "a": ["x": "y\n"], "é": 1e21, "c": [], "d": [:]]
        #expect(value.serialized() == #"{"a":{"x":"y\n"},"b":[1,-2],"c":[],"d":{},"é":1e+21}"#)
        #expect(
            value.serialized(indented: true)
                == "{\n  \"a\": {\n    \"x\": \"y\\n\"\n  },\n  \"b\": [\n    1,\n    -2\n  ],\n  \"c\": [],\n  \"d\": {},\n  \"é\": 1e+21\n}"
        )
        #expect(JSONValue.array([.double(.nan), .double(.infinity)]).serialized() == "[null,null]")
    }

    @Test(arguments: [
        ("0", .integer(0)), ("-0", .integer(0)), ("-12", .integer(-12)), ("9223372036854775807", .integer(.max)),
        ("9223372036854775808", .unsigned(1 << 63)), ("18446744073709551615", .unsigned(.max)),
        ("18446744073709551616", .double(18446744073709551616)), ("1.0", .double(1)), ("1e2", .double(100)),
        ("1E+2", .double(100)), ("-1.5e-1", .double(-0.15)), (" [ ] \n", .array([])), ("\"\\u0041\\ud83e\\udd93\"", "A🦓"),
    ] as [(String, JSONValue)])
    func reading(text: String, expected: JSONValue) throws {
        #expect(try parse(text) == expected)
    }

    @Test(arguments: [
        ("", 0), (" ", 1), ("nul", 0), ("True", 0), ("01", 1), ("-", 1), ("+1", 0), (".5", 0), ("1.", 2), ("1e", 2),
        ("1e999", 0), ("0x10", 1), ("NaN", 0), ("[", 1), ("[1", 2), ("[1,", 3), ("[1,]", 3), ("[1 2]", 3), ("{", 1),
        ("{1:2}", 1), ("{\"a\"}", 4), ("{\"a\":}", 5), ("{\"a\":1,}", 7), ("{\"a\":1,\"a\":2}", 7), ("\"", 1), ("\"\n\"", 1),
        ("\"\\x\"", 3), ("\"\\u12g4\"", 5), ("\"\\ud800\"", 7), ("\"\\udc00\"", 7), ("\"\\ud800\\u0041\"", 13), ("1 1", 2),
    ])
    func faults(text: String, offset: Int) {
        #expect {
            try parse(text)
        } throws: { error in
            guard case .invalidJSON(let found, _)? = error as? CheckpointError else { return false }
            if found != offset { Issue.record("\(text): \(found), not \(offset)") }
            return true
        }
    }

    @Test func textThatIsNotUTF8() {
        #expect(throws: CheckpointError.invalidJSON(offset: 1, reason: "the string is not UTF-8")) {
            try JSONValue(parsing: [0x22, 0xFF, 0x22])
        }
    }

    @Test func depth() throws {
        func nested(_ levels: Int) -> String {
            String(repeating: "[", count: levels) + String(repeating: "]", count: levels)
        }
        #expect(throws: Never.self) { try parse(nested(64)) }
        #expect(throws: CheckpointError.self) { try parse(nested(66)) }
        // Deep enough to overflow the stack of a reader without a limit.
        #expect(throws: CheckpointError.self) { try parse(nested(1_000_000)) }
    }

    @Test func integersOfAnyType() {
        #expect(JSONValue(integer: UInt64(5)) == 5)
        #expect(JSONValue(integer: UInt64.max) == .unsigned(.max))
        #expect(JSONValue(integer: Int8(-5)) == -5)
    }
}
