//! YAML as JSON.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};

/// The document of a file.
pub fn load(path: &str) -> Value {
    let text = crate::read(path);
    let documents = Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(documents.len(), 1, "{path} holds one document");
    json(&documents[0])
}

fn json(node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => (*value).into(),
        Yaml::Value(Scalar::Integer(value)) => (*value).into(),
        Yaml::Value(Scalar::FloatingPoint(value)) => value.into_inner().into(),
        Yaml::Value(Scalar::String(value)) => value.as_ref().into(),
        Yaml::Sequence(items) => items.iter().map(json).collect(),
        Yaml::Mapping(entries) => {
            let mut object = Map::new();
            for (key, value) in entries {
                match text(&json(key)).as_str() {
                    // What is said beside it counts, wherever it stands.
                    "<<" => {
                        for (key, value) in json(value).as_object().expect("a mapping is merged") {
                            object.entry(key).or_insert_with(|| value.clone());
                        }
                    }
                    key => drop(object.insert(key.to_owned(), json(value))),
                }
            }
            object.into()
        }
        other => panic!("not of the YAML that is used here: {other:?}"),
    }
}

/// A scalar as it is written.
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
