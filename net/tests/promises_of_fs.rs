//! What `fs` and `io::stdin` promise.

mod support;

use std::io::{self, Read, Seek, SeekFrom, Write};

use support::watched;
use sward::fs::{self, File};

#[test]
fn files_and_directories_are_std_s() {
    watched(|| {
        let dir = std::env::temp_dir().join(format!("sward-fs-{}", std::process::id()));
        fs::create_dir_all(dir.join("a/b"))?;
        let path = dir.join("a/file");
        fs::write(&path, "hello")?;
        assert!(fs::exists(&path)?);
        assert_eq!(fs::read(&path)?, b"hello");
        assert_eq!(fs::metadata(&path)?.len(), 5);
        fs::copy(&path, dir.join("copy"))?;
        fs::rename(dir.join("copy"), dir.join("moved"))?;
        fs::hard_link(dir.join("moved"), dir.join("linked"))?;
        assert_eq!(fs::read_to_string(dir.join("linked"))?, "hello");
        for i in 0..600 {
            std::fs::write(dir.join(format!("a/b/{i}")), "")?;
        }
        assert_eq!(fs::read_dir(dir.join("a/b"))?.collect::<io::Result<Vec<_>>>()?.len(), 600);
        let mut file = File::options().read(true).write(true).open(&path)?;
        let big = vec![9; 1 << 20];
        file.write_all(&big)?;
        file.seek(SeekFrom::Start(10))?;
        let mut back = Vec::new();
        file.read_to_end(&mut back)?;
        assert_eq!(back, big[10..]);
        file.set_len(3)?;
        assert_eq!(file.metadata()?.len(), 3);
        file.sync_all()?;
        assert_eq!(File::create_new(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(File::open(dir.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::remove_dir_all(&dir)?;
        assert!(!fs::exists(&dir)?);
        Ok(())
    });
}
