//! The wire format of protocol buffers, read in place.
//!
//! Source: protobuf.dev/programming-guides/encoding.

use super::Malformed;

/// How deep groups may be nested, which nobody sends: they are skipped.
const GROUPS_MAX: usize = 16;

/// The fields of one message, in the order in which they come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field and its number; none at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, Malformed> {
        while !self.rest.is_empty() {
            let (number, wire_type) = self.key()?;
            match wire_type {
                0 => return Ok(Some((number, Field::Varint(self.varint()?)))),
                1 => {
                    let bytes = self.take(8)?.first_chunk().ok_or_else(truncated)?;
                    return Ok(Some((number, Field::Fixed64(u64::from_le_bytes(*bytes)))));
                }
                2 => {
                    let len = usize::try_from(self.varint()?).map_err(|_| truncated())?;
                    return Ok(Some((number, Field::Bytes(self.take(len)?))));
                }
                3 => self.skip_group(number, GROUPS_MAX)?,
                5 => {
                    self.take(4)?;
                    return Ok(Some((number, Field::Fixed32)));
                }
                _ => return Err(Malformed::new("a field is of a type that there is not")),
            }
        }
        Ok(None)
    }

    fn key(&mut self) -> Result<(u32, u8), Malformed> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed::new("a field's number is too large"))?;
        if key < 8 {
            return Err(Malformed::new("a field has the number 0"));
        }
        Ok((key >> 3, (key & 7) as u8))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        // Nearly all are of one byte.
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if at == 9 && bits > 1 {
                break;
            }
            number |= bits << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(number);
            }
        }
        Err(if self.rest.len() < 10 { truncated() } else { Malformed::new("a number has more than 64 bits") })
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn skip_group(&mut self, group: u32, groups_max: usize) -> Result<(), Malformed> {
        let groups_max = groups_max.checked_sub(1).ok_or_else(|| Malformed::new("groups are nested too deep"))?;
        loop {
            let (number, wire_type) = self.key()?;
            match wire_type {
                0 => drop(self.varint()?),
                1 => drop(self.take(8)?),
                2 => {
                    let len = usize::try_from(self.varint()?).map_err(|_| truncated())?;
                    self.take(len)?;
                }
                3 => self.skip_group(number, groups_max)?,
                4 if number == group => return Ok(()),
                5 => drop(self.take(4)?),
                _ => return Err(Malformed::new("a group does not end")),
            }
        }
    }
}

impl<'a> Field<'a> {
    #[inline]
    pub(crate) fn bytes(self) -> Result<&'a [u8], Malformed> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(mistyped()) }
    }

    #[inline]
    pub(crate) fn text(self) -> Result<&'a str, Malformed> {
        str::from_utf8(self.bytes()?).map_err(|_| Malformed::new("a text is not UTF-8"))
    }

    #[inline]
    pub(crate) fn message(self) -> Result<Reader<'a>, Malformed> {
        Ok(Reader::new(self.bytes()?))
    }

    #[inline]
    pub(crate) fn varint(self) -> Result<u64, Malformed> {
        if let Self::Varint(number) = self { Ok(number) } else { Err(mistyped()) }
    }

    #[inline]
    pub(crate) fn fixed64(self) -> Result<u64, Malformed> {
        if let Self::Fixed64(number) = self { Ok(number) } else { Err(mistyped()) }
    }

    pub(crate) fn fixed32(self) -> Result<(), Malformed> {
        if let Self::Fixed32 = self { Ok(()) } else { Err(mistyped()) }
    }
}

fn truncated() -> Malformed {
    Malformed::new("it ends within a field")
}

fn mistyped() -> Malformed {
    Malformed::new("a field is of another type than it has to be")
}
