//! The file a model is kept in: JSON, with all that is to be known of it. What this program does not know is refused.

use std::{fs::Metadata, io, path::Path};

use bowline::runtime::fs;
use iot_detect::{
    Kind,
    features::{Features, NAMES},
};
use serde::{Deserialize, Serialize};

use crate::{
    forest::{Forest, Params},
    metrics::Operating,
};

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
    #[error("the model is of format {format}, this program reads {FORMAT}: train it anew with `iot-ml train`")]
    Format {
        /// What it says.
        format: u32,
    },
    /// It was trained on other features.
    #[error("the model asks for other features than this program has: train it anew with `iot-ml train`")]
    Features,
    /// Something in it makes no sense.
    #[error("the model makes no sense: {rule}")]
    Rule {
        /// What.
        rule: String,
    },
}

/// A model, and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    format: u32,
    /// By what it goes: its seed, and a checksum of its trees.
    pub version: String,
    features: Vec<String>,
    /// What it was trained on.
    pub data: Origin,
    /// How it was trained.
    pub params: Params,
    /// How good it is, on devices that it has not seen.
    pub metrics: Metrics,
    /// The score from which on nine of ten hours have a fault.
    pub threshold: f64,
    forest: Forest,
}

/// The format alone, which is looked at first: what comes with another may be anything.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// What a model was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Of the devices and of the learner.
    pub seed: u64,
    /// Devices that it learned from, and as many that it was tested on.
    pub devices: u32,
    /// Hours that it learned from.
    pub trained_on: usize,
    /// Hours that it was tested on.
    pub tested_on: usize,
    /// The share of those that had a fault.
    pub fault_rate: f64,
}

/// How good a model is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// See [`roc_auc`](crate::metrics::roc_auc).
    pub roc_auc: f64,
    /// What the threshold does.
    pub operating: Operating,
    /// The same of each kind of fault.
    pub kinds: Vec<OfKind>,
}

/// How good a model is at one kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfKind {
    /// The kind.
    pub kind: Kind,
    /// Against hours without any fault.
    pub roc_auc: f64,
    /// The share of its hours that the threshold flags.
    pub recall: f64,
}

impl Model {
    /// A model of what was learned.
    pub fn new(data: Origin, params: Params, metrics: Metrics, threshold: f64, forest: Forest) -> Self {
        let version = version(&data, &forest);
        let features = NAMES.iter().map(ToString::to_string).collect();
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
            return Err(Error::Format { format });
        }
        let model: Self = serde_json::from_slice(text).map_err(Error::Json)?;
        if model.features != NAMES {
            return Err(Error::Features);
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

    /// How unlike a healthy hour that one is, from 0 to 1.
    pub fn score(&self, features: &Features) -> f64 {
        self.forest.score(&features.row())
    }

    /// The names of its features.
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// What it asks.
    pub fn forest(&self) -> &Forest {
        &self.forest
    }
}

/// By what trees go: another name, where they are others.
fn version(data: &Origin, forest: &Forest) -> String {
    format!("{}-{:08x}", data.seed, checksum(forest))
}

/// FNV-1a, of the trees as they are written.
fn checksum(forest: &Forest) -> u32 {
    let text = serde_json::to_vec(forest).unwrap_or_default();
    text.iter().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
