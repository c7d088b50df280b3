//! The numbers of `@@ -12,7 +12,9 @@ text`.

/// What a hunk header says of the old and the new file.
#[derive(Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Index (from 0) of the first old line, or of the line before which an addition goes.
    pub old_index: usize,
    pub old_count: usize,
    pub new_count: usize,
}

/// Reads what follows the first `@@`; `None` when it is no pair of ranges closed by `@@`.
pub fn numbers(rest: &[u8]) -> Option<Numbers> {
    let ranges = rest.trim_ascii_start().strip_prefix(b"-")?;
    let close = ranges.windows(2).position(|pair| pair == b"@@")?;
    let (old, new) = std::str::from_utf8(&ranges[..close]).ok()?.trim().split_once(" +")?;
    let (old_start, old_count) = range(old)?;
    let (_, new_count) = range(new)?;
    let old_index = if old_count == 0 { old_start } else { old_start.saturating_sub(1) };
    Some(Numbers { old_index, old_count, new_count })
}

/// No file has 2³² lines: a larger number is a damaged header, and none can overflow a sum.
fn range(text: &str) -> Option<(usize, usize)> {
    let number = |text: &str| text.parse::<u32>().ok().map(|number| number as usize);
    match text.split_once(',') {
        Some((start, count)) => Some((number(start)?, number(count)?)),
        None => Some((number(text)?, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_left_out_is_one_and_an_addition_points_behind_its_line() {
        let check = |text: &str, expected: Option<(usize, usize, usize)>| {
            let found = numbers(text.as_bytes()).map(|n| (n.old_index, n.old_count, n.new_count));
            assert_eq!(found, expected, "{text}");
        };
        check(" -1,2 +1,3 @@", Some((0, 2, 3)));
        check(" -5 +5 @@ fn f()", Some((4, 1, 1)));
        check("-5,0 +6,2@@", Some((5, 0, 2)));
        check(" -0,0 +1 @@", Some((0, 0, 1)));
        check(" def f():", None);
        check(" -1,x +1 @@", None);
        check(" -1 +1", None);
        check(" -18446744073709551615,9 +1 @@", None);
    }
}
