//! Our store by itself, and the same samples as a block of Prometheus.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::Deserialize;

use crate::bench::{
    Context, Row, example,
    mesh::complete,
    proxy::{Pins, pinned},
};

/// Series, and scrapes of each every 5 s, where only speed counts.
const SPEED: [&str; 2] = ["10000", "1440"];

/// The same for what is queried: four hours.
const QUERIED: [&str; 2] = ["1000", "2880"];

/// What the example says.
#[derive(Debug, Deserialize)]
struct Said {
    samples: f64,
    samples_per_second: f64,
    samples_per_second_appending: f64,
    bytes_per_sample: f64,
    from_ms: i64,
    to_ms: i64,
}

/// Both sides' samples.
#[derive(Debug)]
pub(super) struct Data {
    said: Said,
    peer_bytes: u64,
    /// The data folder of Prometheus.
    pub(super) blocks: PathBuf,
}

/// How fast the store takes samples on one core, its own writing included.
pub(super) fn appending(context: &Context<'_>, pins: &Pins) -> anyhow::Result<Row> {
    let said = series(context, &SPEED, None, pins)?;
    let note = format!(
        "goal 500000; {:.0} where only the call counts; {:.2} B a sample",
        said.samples_per_second_appending, said.bytes_per_sample
    );
    let figure = "samples that the store takes on one core";
    Ok(Row::more_is_better("metrics.append", figure, "1/s", said.samples_per_second).note(note))
}

impl Data {
    /// Ours as the data folder `ours/data` of that folder, theirs beside it.
    pub(super) fn make(context: &Context<'_>, folder: &Path, pins: &Pins) -> anyhow::Result<Self> {
        let ours = folder.join("ours/data");
        fs::create_dir_all(&ours)?;
        let said = series(context, &QUERIED, Some(&ours), pins)?;
        let (text, blocks) = (ours.join("samples.om"), folder.join("blocks"));
        let mut promtool = pinned(&pins.others, "promtool");
        promtool.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&text).arg(&blocks);
        complete(&mut promtool)?;
        fs::remove_file(text)?;
        let peer_bytes = bytes_in(&blocks)?;
        Ok(Self { said, peer_bytes, blocks })
    }

    /// Disk per sample.
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 bytes")]
    pub(super) fn bytes(&self) -> Row {
        Row::less_is_better("metrics.bytes", "disk per sample", "B", self.said.bytes_per_sample)
            .against("prometheus", self.peer_bytes as f64 / self.said.samples)
            .note(format!("goal 1.5; {} samples; ours with what is still in the log", self.said.samples))
    }

    /// The time that has samples, in whole seconds since 1970.
    pub(super) fn seconds(&self) -> [i64; 2] {
        [self.said.from_ms / 1000, self.said.to_ms / 1000]
    }
}

fn series(context: &Context<'_>, counts: &[&str], folder: Option<&Path>, pins: &Pins) -> anyhow::Result<Said> {
    let said = complete(pinned(&pins.proxy, &example(context, "series")?).args(counts).args(folder))?;
    serde_json::from_str(&said).with_context(|| format!("the example said {said:?}"))
}

/// The sum of the files in a folder and those below it.
fn bytes_in(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_in(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
