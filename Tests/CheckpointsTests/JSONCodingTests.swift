import Checkpoints
import Testing

struct JSONCodingTests {
    struct Recipe: Codable, Equatable {
        enum Model: Codable, Equatable {
            case mlp(hidden: [Int])
            case gpt(layers: Int, heads: Int)
        }
        enum Task: String, Codable { case digits, text }

        var seed: UInt64 = .max
        var least = Int64.min
        var small: Int8 = -128
        var learningRate = 0.1
        var dropout: Float = 0.1
        var task = Task.text
        var model = Model.mlp(hidden: [512, 10])
        var clip: Double?
        var decay: Double? = 1e-300
        var vocabulary = ["\n", " ", "é", "🦓"]
        var table = ["a": [1.5, 2], "b": []]
        var optionals: [Int?] = [1, nil, 3]
        var extra: JSONValue = ["x": [1, nil, "y"]]
        var isOn = true
    }

    @Test(arguments: [Recipe.Model.mlp(hidden: []), .gpt(layers: 4, heads: 8)]) func thereAndBack(model: Recipe.Model) throws {
        var recipe = Recipe()
        recipe.model = model
        let value = try JSONValue(encoding: recipe)
        #expect(try value.decoded(as: Recipe.self) == recipe)
        let parsed = try JSONValue(parsing: Array(value.serialized(indented: true).utf8))
        #expect(parsed == value)
        #expect(try parsed.decoded(as: Recipe.self) == recipe)
        #expect(value["seed"] == .unsigned(.max))
        #expect(value["clip"] == nil)
        #expect(value["optionals"] == [1, nil, 3])
    }

    @Test func plainValues() throws {
        #expect(try JSONValue(encoding: 5) == 5)
        #expect(try JSONValue(encoding: "text") == "text")
        #expect(try JSONValue(encoding: [Int]()) == [])
        #expect(try JSONValue(encoding: [String: Int]()) == [:])
        #expect(try JSONValue.integer(5).decoded(as: Double.self) == 5)
    }

    struct Small: Codable {
        var number: Int8
        var list: [Bool]
    }

    @Test(arguments: [
        (["list": []], "number is missing"), (["number": 128, "list": []], "number: an integer that fits Int8 should be here"),
        (["number": 1.0, "list": []], "number: an integer that fits Int8 should be here"),
        (["number": 1, "list": [true, 0]], "list.1: true or false should be here"),
        (["number": 1, "list": "x"], "list: an array should be here"), ([], "the value: an object should be here"),
    ] as [(JSONValue, String)])
    func whatDoesNotFitIsNamed(value: JSONValue, reason: String) {
        #expect(throws: CheckpointError.unfitJSON(reason: reason)) { try value.decoded(as: Small.self) }
    }

    @Test func whatJSONLacks() {
        #expect(throws: CheckpointError.unfitJSON(reason: "x.1: nan cannot be kept as JSON")) {
            try JSONValue(encoding: ["x": [1, Double.nan]])
        }
    }
}
