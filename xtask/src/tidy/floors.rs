//! The floors: a crate imports lower floors only, siblings never.

use std::fs;

use super::Problem;
use crate::workspace::{Dependency, Package, Workspace};

/// Where a crate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Floor {
    /// A floor of the house; imports lower ones.
    At(u8),
    /// Fixtures for tests: imports floors 0 and 1, is imported by dev-dependencies of every floor.
    Fixture,
    /// A program on top of the product: links [`LINKED`] and nothing above it.
    Application,
    /// What applications of the examples share; links what they may.
    Shared,
    /// A tool of ours; nobody imports it.
    Tool,
}

use Floor::{Application, At, Fixture, Shared, Tool};

/// Every member of the workspace. ARCHITECTURE.md says what each promises.
const FLOORS: [(&str, Floor); 56] = [
    ("bowline-model", At(0)),
    ("bowline-runtime", At(1)),
    ("bowline-telemetry", At(2)),
    ("bowline-resilience", At(2)),
    ("bowline-balance", At(2)),
    ("bowline-disk", At(2)),
    ("bowline-store", At(2)),
    ("bowline-transport", At(2)),
    ("bowline-upstream", At(3)),
    ("bowline-registry", At(3)),
    ("bowline-config", At(3)),
    ("bowline-identity", At(3)),
    ("bowline-cache", At(3)),
    ("bowline-observe", At(3)),
    ("bowline-otlp", At(3)),
    ("bowline-messaging", At(3)),
    ("bowline-check", At(3)),
    ("bowline-deploy", At(3)),
    ("bowline-proxy", At(4)),
    ("bowline-provider-nats", At(4)),
    ("bowline-provider-redis", At(4)),
    ("bowline-provider-remote", At(4)),
    ("bowline-sql", At(4)),
    ("bowline", At(5)),
    ("bowline-console", At(5)),
    ("bowline-gateway", At(5)),
    ("bowline-mesh", At(5)),
    ("bowline-supervisor", At(5)),
    ("bowline-server", At(6)),
    ("bowline-cli", At(7)),
    ("bowline-testkit", Fixture),
    ("bank-account", Application),
    ("bank-features", Shared),
    ("bank-load", Application),
    ("bank-ml", Application),
    ("bank-risk", Application),
    ("bank-transaction", Application),
    ("iot-analytics", Application),
    ("iot-broker", Shared),
    ("iot-data", Application),
    ("iot-detect", Shared),
    ("iot-device", Application),
    ("iot-ml", Application),
    ("iot-mqtt", Shared),
    ("iot-sim", Application),
    ("shop-bank", Application),
    ("shop-load", Application),
    ("shop-notify", Application),
    ("shop-order", Application),
    ("shop-payment", Application),
    ("shop-user", Application),
    ("example-load", Shared),
    ("example-model", Shared),
    ("example-sql", Shared),
    ("example-testing", Shared),
    ("xtask", Tool),
];

/// What applications may link; the disk, for those that keep what is theirs in files of their own.
const LINKED: [&str; 4] = ["bowline", "bowline-runtime", "bowline-model", "bowline-disk"];

/// The highest floor that fixtures and tools import.
const FIXTURE_IMPORTS_MAX: u8 = 1;

pub(super) fn check(workspace: &Workspace) -> Vec<Problem> {
    workspace.packages.iter().flat_map(|package| check_package(workspace, package)).collect()
}

fn check_package(workspace: &Workspace, package: &Package) -> Vec<Problem> {
    let manifest = workspace.relative(&package.manifest_path);
    let text = fs::read_to_string(&package.manifest_path).unwrap_or_default();
    let Some(floor) = floor_of(&package.name) else {
        let message = format!("{} has no floor, add it to {} and to ARCHITECTURE.md", package.name, file!());
        return vec![Problem::new(manifest, 1, message)];
    };
    let ours = package.dependencies.iter().filter(|dependency| dependency.path.is_some());
    ours.filter_map(|dependency| {
        let message = fault(&package.name, floor, dependency)?;
        Some(Problem::new(&*manifest, line_of(&text, dependency), message))
    })
    .collect()
}

fn floor_of(name: &str) -> Option<Floor> {
    FLOORS.iter().find(|(known, _)| *known == name).map(|(_, floor)| *floor)
}

/// Why that import is wrong, if it is.
fn fault(importer: &str, floor: Floor, dependency: &Dependency) -> Option<String> {
    let imported = dependency.name.as_str();
    let is_dev = dependency.kind.as_deref() == Some("dev");
    if imported == importer {
        return None; // how a crate turns on a feature of its own for its tests
    }
    match (floor, floor_of(imported)?) {
        // A conformance suite, which is an optional feature, may use fixtures as tests do.
        (_, Fixture) if is_dev || dependency.optional => None,
        (_, Fixture) => Some(format!("{imported} is for tests, make it a dev-dependency")),
        (_, Application | Tool) => Some(format!("{imported} is a program, move what you need of it to a crate")),
        (At(here), At(there)) if there < here => None,
        (At(here), At(there)) if there == here => Some(format!(
            "{importer} imports its sibling {imported} (both on floor {here}), let them meet on a higher floor"
        )),
        (At(here), At(there)) => {
            Some(format!("{importer} (floor {here}) imports {imported} (floor {there}), import lower floors only"))
        }
        (Fixture | Tool, At(there)) if there <= FIXTURE_IMPORTS_MAX => None,
        (Fixture | Tool, At(there)) => Some(format!(
            "{importer} imports {imported} (floor {there}), import floors 0 to {FIXTURE_IMPORTS_MAX} only"
        )),
        (Application | Shared, Shared) => None,
        (_, Shared) => Some(format!("{imported} is for applications of the examples")),
        (Application | Shared, At(_)) if LINKED.contains(&imported) => None,
        (Application | Shared, At(_)) => {
            Some(format!("{importer} links {imported}, an application links bowline only"))
        }
    }
}

/// Where the manifest names it; 1 when it is renamed.
fn line_of(manifest: &str, dependency: &Dependency) -> usize {
    let names_it = |line: &str| {
        let rest = line.trim_start().strip_prefix(dependency.name.as_str());
        rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    };
    let mut is_dev_section = false;
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            is_dev_section = line.contains("dev-dependencies");
        } else if names_it(line) && is_dev_section == (dependency.kind.as_deref() == Some("dev")) {
            return index + 1;
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn dependency(name: &str, kind: Option<&str>) -> Dependency {
        Dependency {
            name: name.to_owned(),
            kind: kind.map(ToOwned::to_owned),
            optional: false,
            path: Some(PathBuf::from("/somewhere")),
        }
    }

    fn is_allowed(importer: &str, imported: &str, kind: Option<&str>) -> bool {
        fault(importer, floor_of(importer).unwrap(), &dependency(imported, kind)).is_none()
    }

    #[test]
    fn imports_lead_down() {
        assert!(is_allowed("bowline-runtime", "bowline-model", None));
        assert!(is_allowed("bowline-cli", "bowline-server", None));
        assert!(!is_allowed("bowline-model", "bowline-runtime", None), "up");
        assert!(!is_allowed("bowline-balance", "bowline-store", None), "a sibling");
        assert!(!is_allowed("bowline-balance", "bowline-store", Some("dev")), "a sibling, in tests");
        assert!(!is_allowed("bowline-server", "bowline-cli", Some("dev")), "up, in tests");
        assert!(is_allowed("bowline-store", "bowline-store", Some("dev")), "itself");
    }

    #[test]
    fn fixtures_are_for_tests() {
        assert!(is_allowed("bowline-model", "bowline-testkit", Some("dev")));
        assert!(!is_allowed("bowline-server", "bowline-testkit", None));
        assert!(is_allowed("bowline-testkit", "bowline-runtime", None));
        assert!(!is_allowed("bowline-testkit", "bowline-transport", None));
    }

    #[test]
    fn applications_link_bowline_and_nothing_above_it() {
        assert!(is_allowed("shop-order", "bowline", None));
        assert!(!is_allowed("shop-order", "bowline-server", None));
        assert!(!is_allowed("shop-order", "bowline-store", Some("dev")));
        assert!(!is_allowed("shop-order", "shop-user", None));
        assert!(is_allowed("shop-order", "example-sql", None));
        assert!(is_allowed("iot-broker", "example-sql", None));
        assert!(is_allowed("example-sql", "bowline", None));
        assert!(!is_allowed("example-sql", "bowline-server", None));
        assert!(!is_allowed("example-sql", "shop-order", None));
        assert!(!is_allowed("bowline-server", "example-sql", None));
        assert!(!is_allowed("bowline-server", "xtask", None));
    }

    #[test]
    fn the_line_is_the_one_of_its_section() {
        let manifest = "[dependencies]\na.workspace = true\n\n[dev-dependencies]\na = { workspace = true }\n";
        assert_eq!(line_of(manifest, &dependency("a", None)), 2);
        assert_eq!(line_of(manifest, &dependency("a", Some("dev"))), 5);
        assert_eq!(line_of(manifest, &dependency("b", None)), 1);
    }
}
