//! How devices and services show who they are: a device by its token, services by a password that they share.

use std::{
    env,
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};
use bowline_runtime::fs;

/// The user name of services.
pub const SERVICE: &str = "service";

/// Where the services' password comes from, if not from a file.
const PASSWORD: &str = "IOT_SERVICES_PASSWORD";

/// Where the file with the services' password is.
const PASSWORD_FILE: &str = "IOT_SERVICES_PASSWORD_FILE";

/// The longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 256;

/// How much randomness makes a secret, in bytes.
const SECRET_BYTES: usize = 32;

/// A new token: 32 random bytes in hexadecimal digits.
///
/// # Errors
/// When the system has no randomness.
pub fn token() -> io::Result<String> {
    let mut bytes = [0; SECRET_BYTES];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("the system has no randomness"))?;
    Ok(hex(&bytes))
}

/// What is kept of a token: its SHA-256 in hexadecimal digits.
pub fn hash(token: &[u8]) -> String {
    hex(digest(&SHA256, token).as_ref())
}

/// The password of services: `IOT_SERVICES_PASSWORD`, or the [`password`] in `IOT_SERVICES_PASSWORD_FILE`.
///
/// It comes from the environment alone, so that nobody reads it in a list of processes.
///
/// # Errors
/// When neither is set, and those of [`password`].
pub fn services_password() -> io::Result<String> {
    if let Ok(password) = env::var(PASSWORD) {
        return checked(&password);
    }
    let Some(path) = env::var_os(PASSWORD_FILE).map(PathBuf::from) else {
        return Err(io::Error::other(format!("neither {PASSWORD} nor {PASSWORD_FILE} is set")));
    };
    password(&path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// The password in a file. Whoever comes first makes it, for its owner alone; of many who come at once one does.
///
/// # Errors
/// When it cannot be read or made, or is none.
pub fn password(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path)?,
        read_or_not => return checked(&read_or_not?),
    }
    checked(&fs::read_to_string(path)?)
}

/// Makes the file as a whole, or not, where another was faster.
fn make(path: &Path) -> io::Result<()> {
    let secret = token()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all_durable(parent)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    // Nobody else writes to a file of that name, and whoever dies before the end has left the other one alone.
    name.push(format!(".{}.new", &secret[..16]));
    let new = parent.join(name);
    let password = token()?;
    let mut file = fs::private_options().write(true).create_new(true).open(&new)?;
    let written = file.write_all(password.as_bytes()).and_then(|()| file.sync_all());
    // A name for a file that has another: unlike renaming, it does not take the name from another file.
    let linked = written.and_then(|()| std::fs::hard_link(&new, path));
    fs::remove_file(&new)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked_or_not => linked_or_not.and_then(|()| fs::sync_dir(parent)),
    }
}

fn checked(text: &str) -> io::Result<String> {
    let password = text.trim();
    if (1..=PASSWORD_BYTES_MAX).contains(&password.len()) && !password.contains(char::is_control) {
        return Ok(password.to_owned());
    }
    let rule =
        format!("the services' password is one line of 1 to {PASSWORD_BYTES_MAX} bytes; without the file, it is made");
    Err(io::Error::new(io::ErrorKind::InvalidData, rule))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, os::unix::fs::PermissionsExt as _, thread};

    use bowline_testkit::temp_dir;

    use super::*;

    #[test]
    fn a_token_is_kept_as_its_hash() {
        let token = token().unwrap();
        assert_eq!(token.len(), 64);
        assert_ne!(token, super::token().unwrap());
        assert_eq!(hash(b"token"), "3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0");
    }

    #[test]
    fn who_comes_first_makes_the_password_and_all_have_the_same() {
        let dir = temp_dir();
        let path = dir.path().join("run/services.password");
        let asked = || {
            thread::spawn({
                let path = path.clone();
                move || password(&path).unwrap()
            })
        };
        let asking: Vec<_> = (0..8).map(|_| asked()).collect();
        let mut passwords: BTreeSet<_> = asking.into_iter().map(|asking| asking.join().unwrap()).collect();
        passwords.insert(password(&path).unwrap());
        assert_eq!(passwords.len(), 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_without_a_password_is_named_and_left_alone() {
        let dir = temp_dir();
        let path = dir.path().join("services.password");
        for (text, is_one) in
            [("secret\n", true), ("", false), ("\n", false), ("a\nb", false), (&"x".repeat(257), false)]
        {
            fs::replace(&path, text.as_bytes()).unwrap();
            assert_eq!(password(&path).ok(), is_one.then(|| "secret".to_owned()), "{text:.20}");
        }
        password(&dir.path().join("services.password/below")).unwrap_err();
    }
}
