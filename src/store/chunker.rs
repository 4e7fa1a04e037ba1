//! Cuts contents into chunks whose borders follow the content.
//!
//! An insertion in the middle of a file moves the bytes behind it, but not their borders: the chunks
//! behind it keep their names. The algorithm is `FastCDC` in the version of 2020 (Wen Xia et al., "The
//! Design of Fast Content-Defined Chunking for Data Deduplication Based Storage Systems", IEEE
//! TPDS 31:9), from the crate `fastcdc`.
//!
//! *Invariants*: the chunks of a content, one behind the other, are the content. The same content
//! gives the same chunks, whatever the sizes in which it arrives.
//!
//! *Crash story*: none; nothing is written here.
//!
//! *Limits*: should the cut points ever change, stored chunks stay readable and new ones are stored
//! beside them; a test pins them.

use fastcdc::v2020::FastCDC;

/// The sizes of chunks, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// No chunk but the last is smaller.
    pub min: usize,
    /// The size aimed at.
    pub average: usize,
    /// No chunk is larger.
    pub max: usize,
}

/// For files: large enough that their names weigh little (32 bytes for 64 KiB).
pub const FILES: Sizes = Sizes {
    min: 16 << 10,
    average: 64 << 10,
    max: 256 << 10,
};

/// For state, which grows by a little and often: small enough that the last, changed chunk weighs
/// little.
pub const STATE: Sizes = Sizes {
    min: 4 << 10,
    average: 16 << 10,
    max: 64 << 10,
};

impl Sizes {
    /// The length of the first chunk of `content`. The content must either be `max` long or more,
    /// or all that is left.
    #[must_use]
    pub fn first(&self, content: &[u8]) -> usize {
        let window = &content[..content.len().min(self.max)];
        FastCDC::new(window, self.min, self.average, self.max)
            .cut(0, window.len())
            .1
    }

    /// All chunks of a content.
    pub fn split<'a>(&self, content: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let sizes = *self;
        let mut rest = content;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (chunk, after) = rest.split_at(sizes.first(rest));
            rest = after;
            Some(chunk)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::object::ObjectId;

    fn content(len: usize) -> Vec<u8> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"content");
        let mut bytes = vec![0; len];
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn chunks_are_the_content_within_their_sizes() {
        for sizes in [FILES, STATE] {
            for len in [0, 1, sizes.min, sizes.min + 1, sizes.max, 1 << 20] {
                let content = content(len);
                let chunks: Vec<&[u8]> = sizes.split(&content).collect();
                assert_eq!(chunks.concat(), content);
                assert!(chunks.iter().all(|chunk| chunk.len() <= sizes.max));
                let whole = chunks.len().saturating_sub(1);
                assert!(chunks[..whole].iter().all(|chunk| chunk.len() >= sizes.min));
            }
        }
    }

    #[test]
    fn an_insertion_changes_few_chunks() {
        let before = content(4 << 20);
        let mut after = before.clone();
        after.splice(2_000_000..2_000_000, content(4096));
        let names = |content: &[u8]| -> std::collections::HashSet<ObjectId> {
            FILES.split(content).map(ObjectId::of).collect()
        };
        let new = names(&after).difference(&names(&before)).count();
        assert!((1..=3).contains(&new), "{new} new chunks");
    }

    #[test]
    fn cut_points_stay_where_they_are() {
        // Others would be correct as well, but everything would be stored once more.
        let content = content(300 << 10);
        let lens: Vec<usize> = FILES.split(&content).map(<[u8]>::len).collect();
        assert_eq!(lens, [74572, 74030, 94154, 18479, 45965]);
        let content = &content[..100 << 10];
        let lens: Vec<usize> = STATE.split(content).map(<[u8]>::len).collect();
        assert_eq!(lens, [9072, 27033, 33488, 4979, 14088, 13740]);
    }
}
