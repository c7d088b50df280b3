//! Names that people and clients see: short, random, never given twice.

use std::{fs::File, io::Read};

use sha2::{Digest, Sha256};

/// Letters and digits that are not mistaken for one another.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters of an id: 60 bits, so that a million ids collide with a chance of one in two million.
const ID_CHARS: usize = 12;

/// A new id. The first character is a letter, so that an id is never taken for a number.
pub fn new_id() -> String {
    let mut raw = [0; ID_CHARS];
    // The kernel's generator does not fail once the machine is up, and a machine that runs us is up.
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut raw))
        .expect("the kernel's random generator answers");
    let letters = 10..32;
    raw.iter()
        .enumerate()
        .map(|(at, byte)| match at {
            0 => ALPHABET[letters.start + usize::from(*byte) % letters.len()] as char,
            _ => ALPHABET[usize::from(*byte) % ALPHABET.len()] as char,
        })
        .collect()
}

/// 128 bits that stand for a name of any length; never 0, which means "none".
pub fn key(parts: &[&[u8]]) -> u128 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut raw = [0; 16];
    raw.copy_from_slice(&hash.finalize()[..16]);
    u128::from_le_bytes(raw).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_twelve_characters_and_begin_with_a_letter() {
        let id = new_id();
        assert_eq!(id.len(), ID_CHARS);
        assert!(id.starts_with(|c: char| c.is_ascii_lowercase()));
        assert_ne!(id, new_id());
    }

    #[test]
    fn keys_tell_parts_apart() {
        assert_ne!(key(&[b"ab", b"c"]), key(&[b"a", b"bc"]));
    }
}
