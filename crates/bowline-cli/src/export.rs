//! Where spans are passed on to: `[tracing] export`, with its secrets.

use anyhow::Context as _;
use bowline_model::{
    Secret,
    gateway::SecretSource,
    monitor::{SecretText, TraceExport},
};
use bowline_otlp::ExportSettings;
use bowline_runtime::metric;
use http::HeaderName;

use crate::brought::read_text;

/// The longest secret in a file, in bytes.
const SECRET_BYTES_MAX: usize = 16 * 1024;

/// What the exporter is told; none where the file names no collector.
///
/// # Errors
/// A secret that is not there.
pub(crate) fn settings(
    export: Option<&TraceExport>,
    metrics: &metric::Registry,
) -> anyhow::Result<Option<ExportSettings>> {
    let Some(TraceExport { otlp, headers }) = export else { return Ok(None) };
    let mut settings = ExportSettings::new(otlp.parse().context("[tracing] export.otlp cannot be used")?);
    settings.metrics = metrics.clone();
    for (name, value) in headers {
        let told = || format!("the header {name} of [tracing] export");
        let header: HeaderName = name.parse().with_context(told)?;
        settings.headers.push((header, secret(value).with_context(told)?));
    }
    Ok(Some(settings))
}

/// What a server demands that a section of the file names, if it does.
///
/// # Errors
/// A secret that is not there.
pub(crate) fn credential(section: &str, credential: Option<&SecretText>) -> anyhow::Result<Option<Secret>> {
    credential.map(secret).transpose().with_context(|| format!("[{section}] credential"))
}

pub(crate) fn secret(text: &SecretText) -> anyhow::Result<Secret> {
    let text = match text {
        SecretText::Plain(text) => text.clone(),
        SecretText::At(SecretSource::Env(name)) => {
            std::env::var(name).with_context(|| format!("the variable {name} is not set"))?
        }
        SecretText::At(SecretSource::File(path)) => {
            let file = bowline_runtime::fs::File::open(path).with_context(|| format!("cannot open {path}"))?;
            let text = read_text(file, SECRET_BYTES_MAX).with_context(|| format!("cannot read {path}"))?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
    };
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_and_its_secrets_are_read() {
        let told = |value: &str| {
            let headers = [("authorization".to_owned(), SecretText::parse(value))].into();
            let export = TraceExport { otlp: "http://127.0.0.1:4318".to_owned(), headers };
            settings(Some(&export), &metric::Registry::default())
        };
        let read = told("Bearer x").unwrap().unwrap();
        assert_eq!(read.headers[0].1.expose(), "Bearer x");
        let error = format!("{:#}", told("env:BOWLINE_TEST_NOBODY_SETS_THIS").unwrap_err());
        assert!(error.contains("authorization") && error.contains("is not set"), "{error}");
        assert!(settings(None, &metric::Registry::default()).unwrap().is_none());
    }
}
