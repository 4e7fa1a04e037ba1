//! Work that a second thread does while the first goes on.
//!
//! *Limits*: a process may have no more threads, and a processor that sleeps takes milliseconds to wake: what the second
//! thread has not begun when its result is wanted is done by the first.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};

use crate::error::{Error, Result};

type Work<F> = Arc<Mutex<Option<F>>>;

/// Work that was handed to a second thread. Dropped without being finished, it is not begun any more; what was begun is
/// waited for.
pub(super) struct Beside<'scope, T, F> {
    done: Option<T>,
    work: Work<F>,
    thread: Option<ScopedJoinHandle<'scope, Option<Result<T>>>>,
}

impl<'scope, T, F> Beside<'scope, T, F>
where
    T: Send + 'scope,
    F: FnOnce() -> Result<T> + Send + 'scope,
{
    /// Hands it over if that is worth a thread, else does it now.
    pub(super) fn begin(scope: &'scope Scope<'scope, '_>, parallel: bool, work: F) -> Result<Self> {
        if !parallel {
            return Ok(Self {
                done: Some(work()?),
                work: Arc::default(),
                thread: None,
            });
        }
        let work = Arc::new(Mutex::new(Some(work)));
        let theirs = Arc::clone(&work);
        let run = move || take(&theirs).map(|work| work());
        let thread = thread::Builder::new().spawn_scoped(scope, run).ok();
        Ok(Self {
            done: None,
            work,
            thread,
        })
    }

    /// What came of it.
    pub(super) fn finish(mut self) -> Result<T> {
        self.look()?;
        self.done.take().ok_or_else(undone)
    }

    /// Waits until it is done, and fails if it did.
    pub(super) fn look(&mut self) -> Result<&T> {
        if self.done.is_none() {
            let done = match take(&self.work) {
                Some(work) => {
                    // The thread has nothing left to do, and is waited for where the scope ends.
                    self.thread = None;
                    Some(work())
                }
                None => self.thread.take().map(joined).transpose()?.flatten(),
            };
            self.done = Some(done.unwrap_or_else(|| Err(undone()))?);
        }
        self.done.as_ref().ok_or_else(undone)
    }
}

impl<T, F> Drop for Beside<'_, T, F> {
    fn drop(&mut self) {
        if take(&self.work).is_none()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn take<F>(work: &Work<F>) -> Option<F> {
    work.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn undone() -> Error {
    Error::Internal {
        message: "a worker thread did not do its work".to_owned(),
    }
}

/// Does two things, the first of them on a second thread if that is worth it.
pub(super) fn beside<A: Send, B>(
    parallel: bool,
    first: impl FnOnce() -> Result<A> + Send,
    second: impl FnOnce() -> Result<B>,
) -> Result<(B, A)> {
    thread::scope(|scope| {
        let first = Beside::begin(scope, parallel, first)?;
        let second = second();
        let first = first.finish()?;
        Ok((second?, first))
    })
}

/// What a thread gave.
pub(super) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> Result<T> {
    thread.join().map_err(|_| Error::Internal {
        message: "a worker thread panicked".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn each_is_done_once_whoever_does_it() {
        for parallel in [false, true] {
            for _ in 0..200 {
                let times = AtomicUsize::new(0);
                let work = || Ok(times.fetch_add(1, Ordering::SeqCst));
                let (second, first) = beside(parallel, work, || Ok("second")).expect("both");
                assert_eq!((second, first), ("second", 0));
                assert_eq!(times.into_inner(), 1);
            }
        }
    }

    #[test]
    fn the_error_of_the_first_is_told_before_that_of_the_second() {
        let fail = |message: &str| -> Result<()> {
            Err(Error::Internal {
                message: message.to_owned(),
            })
        };
        for parallel in [false, true] {
            let error =
                beside(parallel, || fail("first"), || fail("second")).expect_err("it fails");
            assert!(error.to_string().contains("first"), "{error}");
            let error = beside(parallel, || Ok(()), || fail("second")).expect_err("it fails");
            assert!(error.to_string().contains("second"), "{error}");
        }
    }

    #[test]
    fn what_was_begun_is_waited_for_when_it_is_dropped() {
        let (begun, wait) = mpsc::channel();
        let ended = AtomicUsize::new(0);
        thread::scope(|scope| {
            let ended = &ended;
            let work = Beside::begin(scope, true, move || {
                begun.send(()).expect("waited for");
                thread::yield_now();
                ended.store(1, Ordering::SeqCst);
                Ok(())
            });
            wait.recv().expect("begun");
            drop(work.expect("begun"));
            assert_eq!(ended.load(Ordering::SeqCst), 1);
        });
    }

    #[test]
    fn a_panic_is_an_error() {
        let (begun, wait) = mpsc::channel();
        let error = thread::scope(|scope| {
            let work = Beside::begin(scope, true, move || -> Result<()> {
                begun.send(()).expect("waited for");
                panic!("for the test");
            });
            wait.recv().expect("begun");
            work.expect("begun").finish().expect_err("it panics")
        });
        assert_eq!(error.code(), "ERR_INTERNAL");
    }
}
