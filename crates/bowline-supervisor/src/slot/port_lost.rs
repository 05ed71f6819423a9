//! What a process says that lost its port to somebody else.

/// Whether a line says that an address, and if it names a port this one, is taken. The words are
/// those of the C library and of the common runtimes.
pub(super) fn speaks_of_taken_address(line: &str, port: u16) -> bool {
    const WORDS: [&str; 4] = ["address already in use", "address in use", "eaddrinuse", "addrinuse"];
    let line = line.to_ascii_lowercase();
    let names_another = line.contains("127.0.0.1:") && !line.contains(&format!("127.0.0.1:{port}"));
    WORDS.iter().any(|words| line.contains(words)) && !names_another
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_is_recognized() {
        for line in [
            "Error: Os { code: 98, kind: AddrInUse, message: \"Address already in use\" }",
            "listen EADDRINUSE: address already in use 127.0.0.1:8123",
            "OSError: [Errno 98] Address already in use",
        ] {
            assert!(speaks_of_taken_address(line, 8123), "{line}");
        }
        assert!(!speaks_of_taken_address("cannot bind 127.0.0.1:9999: address already in use", 8123));
        assert!(!speaks_of_taken_address("listening", 8123));
    }
}
