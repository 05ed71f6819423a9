//! Writes fields of messages; what is empty or zero is left out, as the format has it.

/// A varint field.
pub(crate) fn number(out: &mut Vec<u8>, field: u32, number: u64) {
    if number != 0 {
        key(out, field, 0);
        varint(out, number);
    }
}

/// A field of eight bytes.
pub(crate) fn fixed64(out: &mut Vec<u8>, field: u32, number: u64) {
    if number != 0 {
        key(out, field, 1);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// A text or bytes.
pub(crate) fn bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        present_bytes(out, field, bytes);
    }
}

/// A text or bytes that is told although it is empty, as one of several that may be there.
pub(crate) fn present_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    key(out, field, 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A message within.
pub(crate) fn message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    key(out, field, 2);
    let at = out.len();
    // Most are short: room for a length of one byte.
    out.push(0);
    write(out);
    let len = out.len() - at - 1;
    if let Ok(byte @ 0..0x80) = u8::try_from(len) {
        out[at] = byte;
        return;
    }
    let mut prefix = Vec::with_capacity(10);
    varint(&mut prefix, len as u64);
    out.splice(at..=at, prefix);
}

/// What begins each field: its number and type.
pub(crate) fn key(out: &mut Vec<u8>, field: u32, wire_type: u8) {
    varint(out, u64::from(field << 3 | u32::from(wire_type)));
}

pub(crate) fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}
