//! Varints and slices.

/// The bytes are not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record cannot be read")]
pub struct Corrupt;

/// Reads from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next byte.
    ///
    /// # Errors
    /// [`Corrupt`] where there is less, or more than fits.
    pub fn byte(&mut self) -> Result<u8, Corrupt> {
        let (first, rest) = self.0.split_first().ok_or(Corrupt)?;
        self.0 = rest;
        Ok(*first)
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// [`Corrupt`] where there is less, or more than fits.
    pub fn slice(&mut self, length: usize) -> Result<&'a [u8], Corrupt> {
        let (slice, rest) = self.0.split_at_checked(length).ok_or(Corrupt)?;
        self.0 = rest;
        Ok(slice)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Corrupt`] where there is less, or more than fits.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Corrupt)?;
        self.0 = rest;
        Ok(*array)
    }

    /// A varint: seven bits a byte, the lowest first.
    ///
    /// # Errors
    /// [`Corrupt`] where there is less, or more than fits.
    pub fn number(&mut self) -> Result<u64, Corrupt> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Corrupt);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Corrupt)
    }

    /// A signed varint, written by [`put_signed`].
    ///
    /// # Errors
    /// [`Corrupt`] where there is less, or more than fits.
    pub fn signed(&mut self) -> Result<i64, Corrupt> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A count of items that have at least `bytes_min` bytes each: never more than there can be.
    ///
    /// # Errors
    /// [`Corrupt`] where there cannot be so many.
    pub fn count(&mut self, bytes_min: usize) -> Result<usize, Corrupt> {
        let count = usize::try_from(self.number()?).map_err(|_| Corrupt)?;
        if count > self.0.len() / bytes_min { Err(Corrupt) } else { Ok(count) }
    }

    /// A varint that counts what is in memory.
    ///
    /// # Errors
    /// [`Corrupt`] where there is less, or more than fits.
    pub fn index(&mut self) -> Result<usize, Corrupt> {
        usize::try_from(self.number()?).map_err(|_| Corrupt)
    }
}

/// Writes a varint, which [`Reader::number`] reads.
pub fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

/// Writes a signed varint: numbers near 0 are short.
pub fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned());
}

/// Writes a count as a varint.
pub fn put_count(out: &mut Vec<u8>, count: usize) {
    put_number(out, count as u64);
}
