//! Finds runs of lines in one file, at a given level of likeness.
//!
//! Invariant: hashes only rule lines out; a run is reported after its lines were compared. Lazily built:
//! a diff whose line numbers are right never hashes the file. Pure.

use std::cell::OnceCell;
use std::hash::{DefaultHasher, Hasher};

use super::fold::Level;
use super::syntax::HunkLine;
use super::text::Text;

pub struct Search<'a> {
    pub text: &'a Text<'a>,
    hashes: [OnceCell<Vec<u32>>; Level::FOLDED.len()],
}

impl<'a> Search<'a> {
    pub fn new(text: &'a Text<'a>) -> Search<'a> {
        Search { text, hashes: [const { OnceCell::new() }; Level::FOLDED.len()] }
    }

    /// All indices from `from` on where `pattern` matches at `level`, in order. `pattern` is not empty.
    pub fn runs(&self, level: Level, pattern: &[&HunkLine], from: usize) -> Vec<usize> {
        let fold = level.max(Level::Exact);
        let wanted: Vec<u32> = pattern.iter().map(|line| hash(&fold.fold(&line.body))).collect();
        let hashes = self.hashes(fold);
        let Some(last) = hashes.len().checked_sub(wanted.len()) else { return Vec::new() };
        let Some(firsts) = hashes.get(from..=last) else { return Vec::new() };
        positions(firsts, wanted[0])
            .map(|index| from + index)
            .filter(|&start| hashes[start..start + wanted.len()] == wanted[..])
            .filter(|&start| self.is_run(level, pattern, start))
            .collect()
    }

    /// Whether `pattern` stands at `start`.
    pub fn is_run(&self, level: Level, pattern: &[&HunkLine], start: usize) -> bool {
        if start + pattern.len() > self.text.len() {
            return false;
        }
        pattern.iter().zip(start..).all(|(line, index)| match level {
            Level::Bytes => line.is_exactly(self.text.lines[index]),
            level => level.fold(&line.body) == level.fold(self.text.body(index)),
        })
    }

    /// The best level at which `pattern` stands at `start`.
    pub fn level_at(&self, pattern: &[&HunkLine], start: usize) -> Option<Level> {
        let levels = std::iter::once(Level::Bytes).chain(Level::FOLDED);
        levels.into_iter().find(|level| self.is_run(*level, pattern, start))
    }

    /// Indices from `from` on of lines that are `anchor`, at the best level that has any; when none is, of
    /// lines that begin with it (models and git shorten function headers).
    pub fn anchors(&self, anchor: &[u8], from: usize) -> Vec<usize> {
        for level in Level::FOLDED {
            let wanted = hash(&level.fold(anchor));
            let hashes = self.hashes(level);
            let firsts = hashes.get(from..).unwrap_or_default();
            let found: Vec<usize> = positions(firsts, wanted).map(|index| from + index).collect();
            if !found.is_empty() {
                return found;
            }
        }
        let start = anchor.trim_ascii();
        let begins = |index: &usize| self.text.body(*index).trim_ascii_start().starts_with(start);
        (from..self.text.len()).filter(begins).collect()
    }

    fn hashes(&self, level: Level) -> &[u32] {
        let slot = Level::FOLDED.iter().position(|folded| *folded == level).unwrap_or(0);
        self.hashes[slot].get_or_init(|| {
            (0..self.text.len()).map(|index| hash(&level.fold(self.text.body(index)))).collect()
        })
    }
}

/// Where `wanted` is. Whole blocks are ruled out at once, which the compiler does with vector instructions: a patch
/// of many hunks asks this of the whole file for each.
fn positions(hashes: &[u32], wanted: u32) -> impl Iterator<Item = usize> {
    const BLOCK: usize = 64;
    let has_it = move |block: &[u32]| block.iter().fold(false, |found, hash| found | (*hash == wanted));
    hashes.chunks(BLOCK).enumerate().filter(move |(_, block)| has_it(block)).flat_map(
        move |(number, block)| {
            (0..block.len())
                .filter(move |index| block[*index] == wanted)
                .map(move |index| number * BLOCK + index)
        },
    )
}

fn hash(line: &[u8]) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write(line);
    hasher.finish() as u32
}
