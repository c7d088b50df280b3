//! Owns the fuzz driver of the profile parser: mutations of real profiles, for FUZZ_SECONDS (1 by default).
//!
//! Claim: no text makes the parser panic, every error about a text names a place in it, and whatever resolves
//! prints as TOML that resolves to the same profile. The seed is printed; FUZZ_SEED repeats a run.

use std::time::{Duration, Instant};

use dunlin_sandbox_profiles::{Catalog, ProfileError, Source};

/// Pieces that profiles are made of, and some that they must not be made of.
const PIECES: &[&str] = &[
    "extends = \"read-only\"\n",
    "extends = \"unconfined\"\n",
    "extends = \"fuzz\"\n",
    "isolation = \"none\"\n",
    "isolation = \"best-effort\"\n",
    "[fs]\n",
    "read = [\"/a\", \"~/b\"]\n",
    "write = [\"/a/b\"]\n",
    "hide = [\"/a\"]\n",
    "protect = [\"${workspace}/x\"]\n",
    "overlay = [\"${caches}\"]\n",
    "home = \"host-read\"\n",
    "tmp_size = \"1GiB\"\n",
    "[net]\n",
    "mode = \"proxy\"\n",
    "hosts = [\"*.a.org\"]\n",
    "ports = [443, 65535]\n",
    "[env]\n",
    "allow = [\"LC_*\"]\n",
    "[env.set]\n",
    "A = \"b\"\n",
    "[limits]\n",
    "memory = { value = \"1GiB\", hard = true }\n",
    "idle = \"unlimited\"\n",
    "processes = 18446744073709551616\n",
    "[dev]\n",
    "gpu = [\"dri\"]\n",
    "[[fs]]\n",
    "\"\"\"",
    "\0",
    "\u{feff}",
    "é",
    "..",
    "${",
    "= ",
    "\n",
    "[",
    "]",
    "{",
    "}",
    "'",
    "\\",
    "#",
    "*",
    "-1",
    "9999999999999999999999",
    "1979-05-27",
];

/// xorshift64*: the driver needs variety that a seed repeats, nothing more.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(bits).expect("31 bits fit") % bound
    }
}

#[test]
fn no_text_breaks_the_profile_parser() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seconds = variable("FUZZ_SECONDS").unwrap_or(1);
    let seed = variable("FUZZ_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 17 | 1);
    let mut random = Random(seed.max(1));
    let corpus: Vec<String> = Catalog::new([]).sources().iter().map(|source| source.text.clone()).collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut texts, mut resolved) = (0u64, 0u64);
    while Instant::now() < end {
        let text = mutate(&corpus, &mut random);
        resolved += u64::from(survives(&text, seed));
        texts += 1;
    }
    println!("{texts} texts, {resolved} resolved, FUZZ_SEED={seed}");
    assert!(resolved > 0, "FUZZ_SEED={seed}: no text resolved, so the driver tests only errors");
}

/// A built-in or nothing, with a few pieces put in and a few stretches cut out.
fn mutate(corpus: &[String], random: &mut Random) -> String {
    let mut text = match random.below(3) {
        0 => corpus[random.below(corpus.len())].clone(),
        1 => "extends = \"workspace-net\"\n".to_string(),
        _ => String::new(),
    };
    for _ in 0..1 + random.below(6) {
        let at = if random.below(3) == 0 {
            text.floor_char_boundary(random.below(text.len() + 1))
        } else {
            text.len()
        };
        if random.below(5) == 0 {
            let end = text.floor_char_boundary((at + random.below(20)).min(text.len())).max(at);
            text.replace_range(at..end, "");
        } else {
            text.insert_str(at, PIECES[random.below(PIECES.len())]);
        }
    }
    text
}

/// Checks the claims for one text; says whether it resolved.
fn survives(text: &str, seed: u64) -> bool {
    let catalog = Catalog::new([]);
    match catalog.resolve_source(&Source::user("fuzz", "fuzz.toml", text)) {
        Ok(profile) => {
            let printed = profile.to_toml();
            let again = catalog.resolve_source(&Source::user("fuzz", "again.toml", &printed));
            assert_eq!(again.as_ref(), Ok(&profile), "FUZZ_SEED={seed}\n{text}\nprinted\n{printed}");
            true
        }
        Err(ProfileError::Written { line, column, .. }) => {
            let found = text
                .split('\n')
                .nth(line - 1)
                .unwrap_or_else(|| panic!("FUZZ_SEED={seed}: no line {line}\n{text}"));
            assert!(
                column <= found.chars().count() + 2,
                "FUZZ_SEED={seed}: no column {column} in {found:?}\n{text}"
            );
            false
        }
        Err(error) => panic!("FUZZ_SEED={seed}: {error} has no place\n{text}"),
    }
}
