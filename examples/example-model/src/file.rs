//! The file a model is kept in: JSON, with all that is to be known of it. What a program does not know is refused.

use std::{fs::Metadata, io, path::Path};

use bowline::runtime::fs;
use serde::{Deserialize, Serialize};

use crate::Learned;

/// What the file is written in; of another it is refused.
pub const FORMAT: u32 = 1;
/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the model")]
    Read(#[source] io::Error),
    /// The file is too large.
    #[error("the model has more than {FILE_BYTES_MAX} bytes")]
    Large,
    /// It is no JSON of this shape.
    #[error("the model cannot be read")]
    Json(#[source] serde_json::Error),
    /// It is of another format.
    #[error("the model is of format {format}, this program reads {FORMAT}: train it anew with `{program} train`")]
    Format {
        /// What it says.
        format: u32,
        /// What trains it.
        program: &'static str,
    },
    /// It was trained on other features.
    #[error("the model asks for other features than this program has: train it anew with `{program} train`")]
    Features {
        /// What trains it.
        program: &'static str,
    },
    /// Something in it makes no sense.
    #[error("the model makes no sense: {rule}")]
    Rule {
        /// What.
        rule: String,
    },
}

/// A model, and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound = "")]
pub struct Model<L: Learned> {
    format: u32,
    /// By what it goes: its seed, and a checksum of its trees.
    pub version: String,
    features: Vec<String>,
    /// What it was trained on.
    pub data: L::Origin,
    /// How it was trained.
    pub params: L::Params,
    /// How good it is, on what it has not seen.
    pub metrics: L::Metrics,
    /// The score from which on something is done.
    pub threshold: f64,
    forest: L,
}

/// The format alone, which is looked at first: what comes with another may be anything.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

impl<L: Learned> Model<L> {
    /// A model of what was learned.
    pub fn new(data: L::Origin, params: L::Params, metrics: L::Metrics, threshold: f64, forest: L) -> Self {
        let version = version(&data, &forest);
        let features = L::FEATURES.iter().map(ToString::to_string).collect();
        Self { format: FORMAT, version, features, data, params, metrics, threshold, forest }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        let length = fs::metadata(path).as_ref().map_or(0, Metadata::len);
        if usize::try_from(length).is_ok_and(|length| length > FILE_BYTES_MAX) {
            return Err(Error::Large);
        }
        Self::read(&fs::read(path).map_err(Error::Read)?)
    }

    /// Reads what a file has.
    ///
    /// # Errors
    /// Any [`Error`] but [`Error::Read`].
    pub fn read(text: &[u8]) -> Result<Self, Error> {
        if text.len() > FILE_BYTES_MAX {
            return Err(Error::Large);
        }
        let Head { format } = serde_json::from_slice(text).map_err(Error::Json)?;
        if format != FORMAT {
            return Err(Error::Format { format, program: L::PROGRAM });
        }
        let model: Self = serde_json::from_slice(text).map_err(Error::Json)?;
        if model.features != L::FEATURES {
            return Err(Error::Features { program: L::PROGRAM });
        }
        let refuse = |rule: &str| Err(Error::Rule { rule: rule.to_owned() });
        model.forest.check().map_err(|rule| Error::Rule { rule })?;
        if model.version != version(&model.data, &model.forest) {
            return refuse("version: its seed and the checksum of its trees; they were changed since it was trained");
        }
        if !(model.threshold > 0.0 && model.threshold <= 1.0) {
            return refuse("threshold: above 0, at most 1");
        }
        Ok(model)
    }

    /// As it is written.
    ///
    /// # Errors
    /// When a number in it is none.
    pub fn write(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// From 0 to 1.
    pub fn score(&self, row: &L::Row) -> f64 {
        self.forest.score(row)
    }

    /// The names of its features.
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// What it asks.
    pub fn forest(&self) -> &L {
        &self.forest
    }
}

/// By what trees go: another name, where they are others.
fn version<L: Learned>(data: &L::Origin, forest: &L) -> String {
    format!("{}-{:08x}", L::seed(data), checksum(forest))
}

/// FNV-1a, of the trees as they are written.
fn checksum(forest: &impl Learned) -> u32 {
    let text = serde_json::to_vec(forest).unwrap_or_default();
    text.iter().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A single tree of a single leaf.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Leaf(f64);

    impl Learned for Leaf {
        const PROGRAM: &'static str = "leaf";
        const FEATURES: &'static [&'static str] = &["width", "height"];

        type Row = ();
        type Origin = u64;
        type Params = ();
        type Metrics = ();

        fn seed(origin: &u64) -> u64 {
            *origin
        }

        fn score(&self, (): &()) -> f64 {
            self.0
        }

        fn trees(&self) -> usize {
            1
        }

        fn check(&self) -> Result<(), String> {
            if self.0 < 1.0 { Ok(()) } else { Err("the leaf is above 1".to_owned()) }
        }
    }

    fn model() -> Model<Leaf> {
        Model::new(7, (), (), 0.5, Leaf(0.25))
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        let text = model().write().unwrap();
        assert_eq!(Model::read(&text).unwrap(), model());
        let expect = r#"{"format":1,"version":"7-ed8ffbb2","features":["width","height"],"data":7,"params":null,"metrics":null,"threshold":0.5,"forest":0.25}"#;
        assert_eq!(String::from_utf8(text).unwrap(), format!("{expect}\n"));
    }

    /// What is said of a model with something else in it.
    fn refused(change: impl FnOnce(&mut Value)) -> String {
        let mut value = serde_json::to_value(model()).unwrap();
        change(&mut value);
        Model::<Leaf>::read(&serde_json::to_vec(&value).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_for_this_program_is_refused() {
        for (why, error) in [
            (
                "format 2, this program reads 1: train it anew with `leaf train`",
                refused(|value| value["format"] = json!(2)),
            ),
            ("other features", refused(|value| value["features"][1] = json!("colour"))),
            ("other features", refused(|value| drop(value["features"].as_array_mut().unwrap().pop()))),
            ("version", refused(|value| value["version"] = json!(""))),
            // A tree that was changed, or that goes by another's name.
            ("checksum", refused(|value| value["forest"] = json!(0.75))),
            ("checksum", refused(|value| value["data"] = json!(8))),
            ("the leaf is above 1", refused(|value| value["forest"] = json!(1.5))),
            ("threshold", refused(|value| value["threshold"] = json!(0.0))),
            ("threshold", refused(|value| value["threshold"] = json!(1.5))),
            ("cannot be read", refused(|value| value["colour"] = json!(1))),
            ("cannot be read", refused(|value| *value = json!([]))),
        ] {
            assert!(error.contains(why), "{why}: {error}");
        }
        // Of another format nothing else is looked at.
        let other = Model::<Leaf>::read(br#"{"format":9,"all":"else"}"#);
        assert!(matches!(other, Err(Error::Format { format: 9, .. })));
        assert!(matches!(Model::<Leaf>::read(&vec![b' '; FILE_BYTES_MAX + 1]), Err(Error::Large)));
        assert!(matches!(Model::<Leaf>::load(Path::new("no/such/file.json")), Err(Error::Read(_))));
    }
}
