//! The data folder of a process that stands alone: who it is among others, kept there.

use std::{io, net::SocketAddr, path::Path};

use anyhow::Context as _;
use bowline_model::InstanceId;
use bowline_runtime::{fs, net, rand};

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

/// The file that holds the port it listened on.
const PORT: &str = "port";

/// Where to listen: where it says, but for port 0 where it listened before, if that is free. Others know it there,
/// and cannot be told of another place while the server is away.
pub(crate) fn listen(data_dir: &Path, asked: SocketAddr) -> SocketAddr {
    let kept = fs::read_to_string(data_dir.join(PORT)).ok().and_then(|text| text.trim().parse().ok());
    match kept {
        Some(port) if asked.port() == 0 => {
            let before = SocketAddr::new(asked.ip(), port);
            if net::listen(before).is_ok() { before } else { asked }
        }
        _ => asked,
    }
}

/// Keeps where it listens, for its next start.
pub(crate) fn keep_port(data_dir: &Path, addr: SocketAddr) -> io::Result<()> {
    fs::replace_private(&data_dir.join(PORT), addr.port().to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_listens_where_it_did_unless_told_otherwise_or_that_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        assert_eq!(listen(dir.path(), any), any);
        let taken = net::listen(any).unwrap();
        let before = taken.local_addr().unwrap();
        keep_port(dir.path(), before).unwrap();
        assert_eq!(listen(dir.path(), any), any, "it is taken");
        drop(taken);
        assert_eq!(listen(dir.path(), any), before);
        let told = ([127, 0, 0, 1], 7611).into();
        assert_eq!(listen(dir.path(), told), told);
    }

    #[test]
    fn a_process_stays_who_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = own_instance(&dir.path().join("data"), "order").unwrap();
        assert!(first.as_str().starts_with("order-"));
        assert_eq!(own_instance(&dir.path().join("data"), "order").unwrap(), first);
        assert_ne!(own_instance(&dir.path().join("other"), "order").unwrap(), first);
    }
}
