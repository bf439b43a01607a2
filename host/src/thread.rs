//! Work on a thread of its own, with a runtime of its own: it may let the thread itself sleep, and whoever wakes it wakes no
//! other thread.

use std::io;
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Runs it to its end on a new thread, in a runtime of which this is enabled. Dropped before, it ends it where it
/// stands, and returns when the thread is gone.
///
/// # Errors
/// If the system gives no thread, or no runtime, or the work panics.
pub(crate) async fn run(
    name: &str,
    enable: fn(&mut Builder) -> &mut Builder,
    work: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (wanted, unwanted) = oneshot::channel::<()>();
    let (done, ended) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _done = done;
        // Made and dropped here: where tasks run, none may be dropped.
        let runtime = enable(&mut Builder::new_current_thread()).build()?;
        runtime.block_on(async {
            tokio::select! {
                () = work => {}
                _ = unwanted => {}
            }
        });
        Ok(())
    })?;
    let mut running = Running { wanted: Some(wanted), thread: Some(thread) };
    // Nothing is ever sent: it is over when the other end is gone.
    let _ = ended.await;
    running.end()
}

struct Running {
    wanted: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    fn end(&mut self) -> io::Result<()> {
        drop(self.wanted.take());
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err(io::Error::other("it ended by an error of its own")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Dropped before its end: nobody asks how it ended.
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn work_that_is_dropped_ends_where_it_stands() {
        let (held, gone) = oneshot::channel::<()>();
        let (begun, began) = oneshot::channel();
        let work = async move {
            let _held = held;
            let _ = begun.send(std::thread::current().id());
            std::future::pending::<()>().await;
        };
        let running = tokio::spawn(super::run("work", Builder::enable_time, work));
        assert_ne!(began.await.unwrap(), std::thread::current().id(), "a thread of its own");
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        assert!(gone.await.is_err(), "nothing of it is left");
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error() {
        super::run("work", Builder::enable_time, async {}).await.unwrap();
        super::run("work", Builder::enable_time, async { panic!("as it must") }).await.unwrap_err();
    }
}
