//! The golden vectors in `tests/vectors/`, group by group, for the tests beside the code that they test.
//!
//! `ndau.json` was made by the original chain's code, `bitmart.json` by BitMart's own SDK, `ndauapi_recorded.json` by a
//! real node. A group is a list of cases, named by its path.

use serde_json::Value;

fn file(name: &str) -> Value {
    let text = match name {
        "ndau.json" => include_str!("../tests/vectors/ndau.json"),
        "bitmart.json" => include_str!("../tests/vectors/bitmart.json"),
        "ndauapi_recorded.json" => include_str!("../tests/vectors/ndauapi_recorded.json"),
        other => panic!("there are no vectors {other}"),
    };
    serde_json::from_str(text).unwrap()
}

/// The cases of one group. The count is printed, for `cargo test -- --show-output`.
pub(crate) fn group(name: &str, path: &str) -> Vec<Value> {
    let value = path
        .split('.')
        .fold(file(name), |value, key| value[key].clone());
    let cases = value
        .as_array()
        .unwrap_or_else(|| panic!("{name} has no group {path}"))
        .clone();
    println!("vectors: {:4} of {name} {path}", cases.len());
    cases
}

/// The messages that signatures of `ndau.json` are over, by name.
pub(crate) fn message(name: &str) -> Vec<u8> {
    bytes(&file("ndau.json")["messages"][name])
}

/// Bytes written in hex.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

mod tests {
    use super::*;
    use std::path::Path;

    /// Every list of objects in a file, with its path.
    fn groups(name: &str) -> Vec<String> {
        fn walk(path: &str, value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    for (key, value) in fields {
                        let path = if path.is_empty() {
                            key.clone()
                        } else {
                            format!("{path}.{key}")
                        };
                        walk(&path, value, found);
                    }
                }
                Value::Array(cases) if cases.first().is_some_and(Value::is_object) => {
                    found.push(path.to_owned())
                }
                _ => {}
            }
        }
        let mut found = Vec::new();
        walk("", &file(name), &mut found);
        found
    }

    fn sources(folder: &Path, all: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, all);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn every_group_of_vectors_is_run_by_some_test() {
        let mut all = String::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
        for name in ["ndau.json", "bitmart.json", "ndauapi_recorded.json"] {
            for path in groups(name) {
                let call = format!("group(\"{name}\", \"{path}\")");
                assert!(all.contains(&call), "no test runs {call}");
            }
        }
    }
}
