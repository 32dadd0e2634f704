use std::io;
pub(crate) struct ThreadPool;
impl ThreadPool {
    pub(crate) const fn new(_: &'static str, _: usize) -> Self {
        Self
    }
    pub(crate) fn execute(&'static self, job: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        std::thread::spawn(job);
        Ok(())
    }
}
