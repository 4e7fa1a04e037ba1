//! Runs a verb now or on libuv's pool, and turns whatever comes of it into a value.

use std::panic::{AssertUnwindSafe, catch_unwind};

use napi::bindgen_prelude::{AsyncTask, ToNapiValue, TypeName};
use napi::{Either, Env, Task};

use crate::binding::types::Failure;
use crate::error::{Error, Result};

/// A verb that was not run yet. `T` is what the verb gives, `J` what JavaScript gets.
pub struct Job<T, J> {
    work: Option<Box<dyn FnOnce() -> Result<T> + Send>>,
    converted: std::marker::PhantomData<fn() -> J>,
}

impl<T, J> Job<T, J>
where
    T: Send + 'static,
    J: From<T> + ToNapiValue + TypeName,
{
    /// Puts a verb on the pool.
    pub(super) fn task(work: impl FnOnce() -> Result<T> + Send + 'static) -> AsyncTask<Self> {
        AsyncTask::new(Self {
            work: Some(Box::new(work)),
            converted: std::marker::PhantomData,
        })
    }
}

impl<T, J> Task for Job<T, J>
where
    T: Send + 'static,
    J: From<T> + ToNapiValue + TypeName,
{
    type Output = Result<T>;
    type JsValue = Either<Failure, J>;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        Ok(match self.work.take() {
            Some(work) => guarded(work),
            None => Err(Error::Internal {
                message: "a job ran twice".to_owned(),
            }),
        })
    }

    fn resolve(&mut self, _env: Env, output: Self::Output) -> napi::Result<Self::JsValue> {
        Ok(reply(output))
    }
}

/// Runs a verb on this thread.
pub(super) fn now<T, J: From<T>>(work: impl FnOnce() -> Result<T>) -> Either<Failure, J> {
    reply(guarded(work))
}

fn reply<T, J: From<T>>(result: Result<T>) -> Either<Failure, J> {
    match result {
        Ok(value) => Either::B(J::from(value)),
        Err(error) => Either::A(Failure::from(&error)),
    }
}

/// A panic becomes an error: it must not cross into Node. Nothing is shared with the work but
/// files, and those are consistent at every instant.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a message".to_owned());
        Err(Error::Internal { message })
    })
}
