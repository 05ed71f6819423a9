//! The data folder of a process that stands alone: who it is among others, kept there.

use std::path::Path;

use anyhow::Context as _;
use bowline_model::InstanceId;
use bowline_runtime::{fs, rand};

/// What it is called: made once for its data folder, which is made too.
pub(crate) fn own_instance(data_dir: &Path, service: &str) -> anyhow::Result<InstanceId> {
    let cannot = || format!("cannot use the data folder {}", data_dir.display());
    fs::create_private_dir_all(data_dir).with_context(cannot)?;
    let file = data_dir.join("instance");
    let known = fs::read_to_string(&file).ok().and_then(|text| InstanceId::new(text.trim()).ok());
    if let Some(known) = known {
        return Ok(known);
    }
    let id = format!("{service}-{:06x}", rand::u64() & 0xff_ffff);
    let instance = InstanceId::new(&id).with_context(|| format!("`{id}` is too long: give one with --instance"))?;
    fs::replace_private(&file, instance.as_str().as_bytes()).with_context(cannot)?;
    Ok(instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_stays_who_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = own_instance(&dir.path().join("data"), "order").unwrap();
        assert!(first.as_str().starts_with("order-"));
        assert_eq!(own_instance(&dir.path().join("data"), "order").unwrap(), first);
        assert_ne!(own_instance(&dir.path().join("other"), "order").unwrap(), first);
    }
}
