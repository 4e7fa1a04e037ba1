//! Names that are taken for the same, and new names beside old ones.

/// The longest name that file systems take, in bytes.
const MAX_NAME: usize = 255;

/// What two names have in common if they differ in case only.
pub(super) fn fold(name: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(name) {
        // Both ways: some letters have no counterpart in one of them.
        Ok(name) => name.to_uppercase().to_lowercase().into_bytes(),
        Err(_) => name.to_ascii_lowercase(),
    }
}

/// The name for what is renamed aside: with the suffix before the extension, and with a number from 2
/// on where that is taken.
///
/// A name too long for a file system loses the end of its stem.
pub(super) fn beside(name: &[u8], suffix: &str, taken: &dyn Fn(&[u8]) -> bool) -> Vec<u8> {
    let dot = name.iter().rposition(|byte| *byte == b'.');
    // `.env` is all name; so is `name.`.
    let dot = dot.filter(|at| *at > 0 && at + 1 < name.len());
    let (stem, end) = name.split_at(dot.unwrap_or(name.len()));
    let mut number = 1_u64;
    loop {
        let mut middle = suffix.as_bytes().to_vec();
        if number > 1 {
            middle.extend_from_slice(format!("-{number}").as_bytes());
        }
        let room = MAX_NAME.saturating_sub(middle.len() + end.len());
        let new = [shortened(stem, room), &middle, end].concat();
        if !taken(&new) {
            return new;
        }
        number += 1;
    }
}

/// The beginning of a name, at most so many bytes, no letter cut in two.
fn shortened(stem: &[u8], room: usize) -> &[u8] {
    if stem.len() <= room {
        return stem;
    }
    let mut end = room;
    while end > 0 && stem[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &stem[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, taken: &[&str]) -> String {
        let taken = |name: &[u8]| taken.iter().any(|one| one.as_bytes() == name);
        String::from_utf8_lossy(&beside(name.as_bytes(), ".c-1a2b", &taken)).into_owned()
    }

    #[test]
    fn the_suffix_comes_before_the_extension() {
        for (name, expected) in [
            ("notes.txt", "notes.c-1a2b.txt"),
            ("a.tar.gz", "a.tar.c-1a2b.gz"),
            ("Makefile", "Makefile.c-1a2b"),
            (".env", ".env.c-1a2b"),
            (".env.local", ".env.c-1a2b.local"),
            ("end.", "end..c-1a2b"),
        ] {
            assert_eq!(named(name, &[]), expected);
        }
        assert_eq!(named("a.b", &["a.c-1a2b.b"]), "a.c-1a2b-2.b");
        let taken = ["a.c-1a2b.b", "a.c-1a2b-2.b"];
        assert_eq!(named("a.b", &taken), "a.c-1a2b-3.b");
    }

    #[test]
    fn long_names_stay_within_the_limit() {
        let name = "é".repeat(125) + ".txt";
        let new = named(&name, &[]);
        assert_eq!(new, "é".repeat(122) + ".c-1a2b.txt");
        assert!(new.len() <= MAX_NAME);
        let end = named(&("a.".to_owned() + &"b".repeat(253)), &[]);
        assert!(end.starts_with(".c-1a2b.b"), "nothing is left of the stem");
    }

    #[test]
    fn names_of_one_case() {
        assert_eq!(fold("README".as_bytes()), fold("ReadMe".as_bytes()));
        assert_eq!(fold("STRAßE".as_bytes()), fold("strasse".as_bytes()));
        assert_eq!(fold(b"\xffA"), fold(b"\xffa"));
        assert_ne!(fold(b"a"), fold(b"b"));
    }
}
