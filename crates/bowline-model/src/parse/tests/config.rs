//! Documents of configuration.

use super::check_all;

const FILE: &str = r#"name = "t"
$"#;

#[test]
fn configurations() {
    check_all(
        FILE,
        r#"
[config."shop/order"]
  2:9+12 `shop/order` has neither `document` nor `schema` → name a file: `document = "config/order.toml"`

[config.shop.order]
document = "a.toml"
  2:9+4 `shop` is not a key of configuration → write namespace and name in quotes: `[config."shop/order"]`

[config."Shop/order"]
document = "a.toml"
  2:9+12 `Shop/order` is not a key of configuration → only a-z, 0-9 and - _ . are allowed, and a letter or a digit first

[config."shop/order/x"]
document = "a.toml"
  2:9+14 `shop/order/x` is not a key of configuration → only a-z, 0-9 and - _ . are allowed, and a letter or a digit first

[config."bowline/routes"]
document = "a.toml"
  2:9+16 the namespace `bowline` is Bowline's own → use another; routes are written as `[[route]]` of this file

[config."shop/order"]
document = 5
schema = ["a.json"]
  3:12+1 `document` is a whole number, not a string → write `document = "config/order.toml"`
  4:10+10 `schema` is a list, not a string → write `schema = "config/order.schema.json"`

[config."shop/order"]
document = ""
schema = "/etc/a.json"
  3:12+2 `document` ("") is not a file of the system → write a path of 1 to 1024 characters with / between folders: "config/order.toml"
  4:10+13 `schema` ("/etc/a.json") is not a file of the system → write a path below the folder of this file, without ..: "config/order.toml"

[config."shop/order"]
document = "../a.toml"
schema = "a/../../b.json"
  3:12+11 `document` ("../a.toml") is not a file of the system → write a path below the folder of this file, without ..: "config/order.toml"
  4:10+16 `schema` ("a/../../b.json") is not a file of the system → write a path below the folder of this file, without ..: "config/order.toml"

[config."shop/order"]
document = "a\\b.toml"
  3:12+11 `document` ("a\b.toml") is not a file of the system → write a path of 1 to 1024 characters with / between folders: "config/order.toml"

[config."shop/order"]
document = "a.yaml"
schema = "a.toml"
  3:12+8 `document` ("a.yaml") is not a file of the system → its name ends in .toml, .json or .txt, which says what it is
  4:10+8 `schema` ("a.toml") is not a file of the system → a JSON Schema's name ends in .json

[config."shop/order"]
document = "a/.toml"
  3:12+9 `document` ("a/.toml") is not a file of the system → its name ends in .toml, .json or .txt, which says what it is

[config."shop/order"]
documents = "a.toml"
  3:1+9 unknown key `documents` in a configuration → did you mean `document`?

[config]
"shop/order" = "a.toml"
  3:16+8 `shop/order` is a string, not a table → write `[config."shop/order"]`

[[config]]
  2:1+10 `config` is a list, not a table → write `[config."shop/order"]`
"#,
    );
}
