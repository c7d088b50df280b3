//! Owns the kernel's table of mounts, as the worker sees it.
//!
//! Invariant: read from mountinfo alone. No mount is touched, so none whose server is gone makes anybody wait.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    ops::Bound,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// What is mounted where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts(pub BTreeMap<PathBuf, Mounted>);

/// What one mount shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounted {
    /// The number of its file system's device, as `major:minor`.
    pub device: String,
    /// The name of its kind of file system, such as `ext4`.
    pub kind: String,
}

impl Mounts {
    /// Reads the table. Of two mounts on one place the later one counts: it lies on top.
    pub fn read() -> Self {
        let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
        Self(table.split(|byte| *byte == b'\n').filter_map(mount).collect())
    }

    /// Those below `path`.
    pub fn below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'a Path, &'a Mounted)> {
        let after = self.0.range::<Path, _>((Bound::Excluded(path), Bound::Unbounded));
        let after = after.map(|(point, mounted)| (point.as_path(), mounted));
        after.take_while(move |(point, _)| point.starts_with(path))
    }

    /// The one that `path`, a real one, lies on.
    pub fn covering(&self, path: &Path) -> Option<&Mounted> {
        path.ancestors().find_map(|above| self.0.get(above))
    }
}

/// A line: number, parent, device, root, point, options, any number of tags, `-`, kind, source, options.
fn mount(line: &[u8]) -> Option<(PathBuf, Mounted)> {
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let mut fields = line.split(|byte| *byte == b' ').skip(2);
    let device = text(fields.next()?);
    let point = plain(fields.nth(1)?);
    let kind = text(fields.skip_while(|field| *field != b"-").nth(1)?);
    Some((point, Mounted { device, kind }))
}

/// A path with its octal escapes undone.
fn plain(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut at = 0;
    while at < field.len() {
        let escape = field.get(at + 1..at + 4).filter(|_| field[at] == b'\\');
        let code = escape.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(field[at]));
        at += if code.is_some() { 4 } else { 1 };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_odd_names_and_any_number_of_tags_are_read() {
        let expected = |point: &str, kind: &str| {
            let mounted = Mounted { device: "98:0".to_owned(), kind: kind.to_owned() };
            Some((PathBuf::from(point), mounted))
        };
        let line = br"36 35 98:0 / /mnt/a\040b\134c rw,noatime - ext4 /dev/x rw";
        assert_eq!(mount(line), expected(r"/mnt/a b\c", "ext4"));
        let line = br"36 35 98:0 /sub /mnt rw shared:1 master:2 - fuse.sshfs ann@there: rw";
        assert_eq!(mount(line), expected("/mnt", "fuse.sshfs"));
        assert_eq!(mount(b""), None);
        assert!(Mounts::read().covering(Path::new("/proc/self")).is_some_and(|found| found.kind == "proc"));
    }

    #[test]
    fn what_lies_below_is_no_neighbour_with_a_longer_name() {
        let points = ["/", "/a", "/a-b", "/a/b", "/a/b/c"];
        let mounts = Mounts(points.map(|point| (PathBuf::from(point), Mounted::default())).into());
        let below: Vec<_> = mounts.below(Path::new("/a")).map(|(point, _)| point).collect();
        assert_eq!(below, [Path::new("/a/b"), Path::new("/a/b/c")]);
    }
}
