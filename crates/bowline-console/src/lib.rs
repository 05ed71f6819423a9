//! The console: the files of the page that people look at, embedded as browsers load them.
//!
//! There is no build step: what lies in `assets/` is what is sent. Who serves it sends [`CONTENT_SECURITY_POLICY`]
//! along. The files hold no data; the page asks the API for all that it shows.

use std::{fmt, io::Write as _, sync::OnceLock};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

/// What the page may load and do: its own files and its own API, and nothing that stands in the markup itself. No
/// script can make markup or a script of a text, since nobody can make the types that this demands.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// How hard files are compressed, of 1 to 9: each is once in the life of a process.
const LEVEL: u32 = 6;

/// The media type of a file that browsers are to do nothing with; none of ours has it.
const UNKNOWN_TYPE: &str = "application/octet-stream";

macro_rules! assets {
    ($($path:literal,)*) => {
        const PATHS: &[&str] = &[$($path),*];
        static ASSETS: [Asset; PATHS.len()] =
            [$(Asset::new($path, include_bytes!(concat!("../assets/", $path)))),*];
    };
}

// A line for each file below `assets/`; a test says which are missing.
assets! {
    "alerts-active.js",
    "alerts-labels.js",
    "alerts-pick.js",
    "alerts-rules.js",
    "alerts-silences.js",
    "alerts-told.js",
    "alerts-verdict.js",
    "api.js",
    "app.css",
    "aside.js",
    "certificate.js",
    "chart.js",
    "code.js",
    "config-about.js",
    "config-conflict.js",
    "config-document.js",
    "config-edit.js",
    "config-history.js",
    "config-place.js",
    "config-schema.js",
    "config-status.js",
    "config-tree.js",
    "declared.js",
    "deployments-acts.js",
    "deployments-begin.js",
    "deployments-compare.js",
    "deployments-model.js",
    "deployments-rollout.js",
    "diff.js",
    "fault.js",
    "figures.js",
    "filter.js",
    "format.js",
    "html.js",
    "i18n.js",
    "icon.svg",
    "index.html",
    "live.js",
    "main.js",
    "map-layout.js",
    "map-lines.js",
    "map.js",
    "mesh-calls.js",
    "mesh-certificates.js",
    "mesh-edges.js",
    "mesh-matrix.js",
    "mesh-traffic.js",
    "mesh-trust.js",
    "mesh-workloads.js",
    "messages-acts.js",
    "messages-dead.js",
    "messages-stored.js",
    "messages-topic.js",
    "messages-topics.js",
    "metrics-complete.js",
    "metrics-data.js",
    "metrics-editor.js",
    "metrics-help.js",
    "metrics-panel.js",
    "metrics-queries.js",
    "metrics-time.js",
    "observed.js",
    "overview-changes.js",
    "page-alerts.js",
    "page-config.js",
    "page-deployments.js",
    "page-mesh.js",
    "page-messages.js",
    "page-metrics.js",
    "page-overview.js",
    "page-service.js",
    "page-sign-in.js",
    "page-traces.js",
    "payload.js",
    "route.js",
    "saga.js",
    "sagas.js",
    "service-boundary.js",
    "service-breakers.js",
    "service-calls.js",
    "service-instances.js",
    "service-logs.js",
    "service-now.js",
    "service-red.js",
    "service-traces.js",
    "service-view.js",
    "services-list.js",
    "state.js",
    "theme.js",
    "traces-compare.js",
    "traces-decisions.js",
    "traces-model.js",
    "traces-one.js",
    "traces-outcome.js",
    "traces-reach.js",
    "traces-scatter.js",
    "traces-search.js",
    "traces-span.js",
    "traces-waterfall.js",
    "ui.js",
    "vendor/LICENSES.txt",
    "vendor/hooks.js",
    "vendor/htm.js",
    "vendor/preact.js",
    "vendor/uplot.css",
    "vendor/uplot.js",
    "zh-alerts.js",
    "zh-config.js",
    "zh-deployments.js",
    "zh-frame.js",
    "zh-mesh.js",
    "zh-messages.js",
    "zh-metrics.js",
    "zh-overview.js",
    "zh-services.js",
    "zh-traces.js",
    "zh.js",
}

/// The file of that path below `assets/`, as `vendor/preact.js`.
pub fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

/// The page itself, which is the same for every path of the console.
pub fn page() -> &'static Asset {
    asset("index.html").expect("the page is among the files")
}

/// A file of the console.
pub struct Asset {
    path: &'static str,
    embedded: &'static [u8],
    plain: OnceLock<Content>,
    gzip: OnceLock<Option<Content>>,
}

/// The bytes of a file in one encoding.
#[derive(Debug)]
pub struct Content {
    /// What is sent.
    pub bytes: Bytes,
    /// A strong entity tag, in its quotes: the hash of these bytes.
    pub etag: String,
}

impl Asset {
    const fn new(path: &'static str, embedded: &'static [u8]) -> Self {
        Self { path, embedded, plain: OnceLock::new(), gzip: OnceLock::new() }
    }

    /// Its media type, by how its name ends.
    pub fn content_type(&self) -> &'static str {
        match self.path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("txt" | "md") => "text/plain; charset=utf-8",
            Some("json") => "application/json",
            Some("svg") => "image/svg+xml",
            Some("png") => "image/png",
            Some("woff2") => "font/woff2",
            _ => UNKNOWN_TYPE,
        }
    }

    /// The file as it is.
    pub fn plain(&self) -> &Content {
        self.plain.get_or_init(|| Content::new(Bytes::from_static(self.embedded)))
    }

    /// The same as gzip; none where that is no shorter. The first call compresses: a few milliseconds.
    pub fn gzip(&self) -> Option<&Content> {
        let compressed = || Some(gzip(self.embedded)).filter(|bytes| bytes.len() < self.embedded.len());
        self.gzip.get_or_init(|| compressed().map(|bytes| Content::new(bytes.into()))).as_ref()
    }
}

impl Content {
    fn new(bytes: Bytes) -> Self {
        let etag = format!("\"{:032x}\"", xxhash_rust::xxh3::xxh3_128(&bytes));
        Self { bytes, etag }
    }
}

impl fmt::Debug for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asset").field("path", &self.path).field("length", &self.embedded.len()).finish_non_exhaustive()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, io::Read as _, path::Path};

    use super::*;

    /// What all files together may take on their way to a browser.
    const GZIP_BYTES_MAX: usize = 500_000;

    fn paths_below(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                paths_below(&entry.path(), &format!("{path}/"), found);
            } else {
                found.insert(path);
            }
        }
    }

    #[test]
    fn every_file_is_embedded() {
        let mut found = BTreeSet::new();
        paths_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("assets"), "", &mut found);
        let listed: BTreeSet<String> = PATHS.iter().map(ToString::to_string).collect();
        let missing: Vec<_> = found.difference(&listed).collect();
        assert!(missing.is_empty(), "they lie in assets/ and are not in the list above: {missing:#?}");
        assert_eq!(listed.len(), PATHS.len(), "each file once");
        assert!(PATHS.is_sorted(), "{PATHS:?}");
    }

    #[test]
    fn all_of_it_is_small_on_its_way() {
        let sent = |asset: &Asset| asset.gzip().unwrap_or_else(|| asset.plain()).bytes.len();
        let total: usize = ASSETS.iter().map(sent).sum();
        assert!(total < GZIP_BYTES_MAX, "{total} bytes");
    }

    #[test]
    fn every_file_has_a_type_and_a_tag_for_each_encoding() {
        let mut tags = BTreeSet::new();
        for asset in &ASSETS {
            assert_ne!(asset.content_type(), UNKNOWN_TYPE, "{asset:?}");
            let plain = asset.plain();
            assert_eq!(&plain.bytes[..], asset.embedded);
            assert!(plain.etag.starts_with('"') && plain.etag.ends_with('"') && plain.etag.len() == 34);
            assert!(tags.insert(plain.etag.clone()), "{asset:?}");
            let Some(gzip) = asset.gzip() else { continue };
            assert!(tags.insert(gzip.etag.clone()), "other bytes have another tag: {asset:?}");
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(&gzip.bytes[..]).read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked, asset.embedded, "{asset:?}");
        }
    }

    #[test]
    fn files_are_found_by_their_whole_path_alone() {
        assert_eq!(page().content_type(), "text/html; charset=utf-8");
        assert!(asset("vendor/preact.js").is_some_and(|found| found.content_type().starts_with("text/javascript")));
        for nowhere in ["", "vendor", "vendor/", "/index.html", "./index.html", "vendor/../index.html", "INDEX.HTML"] {
            assert!(asset(nowhere).is_none(), "{nowhere}");
        }
    }

    #[test]
    fn the_page_keeps_to_its_policy() {
        let text = std::str::from_utf8(&page().plain().bytes).unwrap().to_owned();
        assert!(!text.contains(" style=") && !text.contains("<style") && !text.contains(" on"), "{text}");
        let scripts = text.matches("<script").count();
        assert_eq!(text.matches("</script>").count(), scripts);
        assert_eq!(text.matches("></script>").count(), scripts, "a script stands in a file of its own: {text}");
        assert!(!text.contains("http://") && !text.contains("https://"), "nothing is loaded from elsewhere: {text}");
        assert!(!CONTENT_SECURITY_POLICY.contains("unsafe") && !CONTENT_SECURITY_POLICY.contains("  "));
    }
}
