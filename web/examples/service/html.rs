//! libxml2, a C library that computes and knows nothing of greenlets: it is called in `offload`.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

/// The library's file, by which it is found at run time: building this needs nothing of it.
const LIBRARY: &CStr = c"libxml2.so.2";

// From HTMLparser.h: recover from errors, say nothing about them, and never use the network.
const OPTIONS: c_int = 1 | 1 << 5 | 1 << 6 | 1 << 11;

// Its functions, as its headers declare them. Documents, contexts and results are pointers that only it looks into.
type Init = unsafe extern "C" fn();
type ReadMemory = unsafe extern "C" fn(*const c_char, c_int, *const c_char, *const c_char, c_int) -> *mut c_void;
type NewContext = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
type Evaluate = unsafe extern "C" fn(*const c_char, *mut c_void) -> *mut c_void;
type ToText = unsafe extern "C" fn(*mut c_void) -> *mut c_char;
type Free = unsafe extern "C" fn(*mut c_void);

/// What is worth knowing of a page.
pub(crate) struct Summary {
    /// The text of its `<title>`.
    pub(crate) title: String,
    /// How many links it has.
    pub(crate) links: usize,
}

/// The functions of libxml2 that are used here.
#[derive(Clone, Copy)]
struct Library {
    read_memory: ReadMemory,
    free_document: Free,
    new_context: NewContext,
    free_context: Free,
    evaluate: Evaluate,
    to_text: ToText,
    free_result: Free,
    free_text: Free,
}

/// Reads a page; none if the library is missing or gives up. Blocks the greenlet, and nobody else.
pub(crate) fn summarize(page: Vec<u8>) -> Result<Summary, &'static str> {
    static LOADED: OnceLock<Option<Library>> = OnceLock::new();
    sward::offload(move || {
        let library = LOADED.get_or_init(Library::load);
        let library = library.ok_or("This needs libxml2.so.2 (Debian: apt-get install libxml2).")?;
        library.summarize(&page).ok_or("libxml2 could not read the page.")
    })
}

impl Library {
    /// Loads the library; it is never unloaded.
    fn load() -> Option<Library> {
        // SAFETY: the types are those of the library's headers; `xmlFree` is a variable that holds a function.
        unsafe {
            let library = libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW);
            if library.is_null() {
                return None;
            }
            let find = |name: &CStr| Some(libc::dlsym(library, name.as_ptr())).filter(|f| !f.is_null());
            let free = |name| find(name).map(|f| std::mem::transmute::<*mut c_void, Free>(f));
            // Before it is used on several threads.
            std::mem::transmute::<*mut c_void, Init>(find(c"xmlInitParser")?)();
            Some(Library {
                read_memory: std::mem::transmute::<*mut c_void, ReadMemory>(find(c"htmlReadMemory")?),
                free_document: free(c"xmlFreeDoc")?,
                new_context: std::mem::transmute::<*mut c_void, NewContext>(find(c"xmlXPathNewContext")?),
                free_context: free(c"xmlXPathFreeContext")?,
                evaluate: std::mem::transmute::<*mut c_void, Evaluate>(find(c"xmlXPathEvalExpression")?),
                to_text: std::mem::transmute::<*mut c_void, ToText>(find(c"xmlXPathCastToString")?),
                free_result: free(c"xmlXPathFreeObject")?,
                free_text: *find(c"xmlFree")?.cast::<Free>(),
            })
        }
    }

    /// Parses a page, and asks it two questions.
    fn summarize(self, page: &[u8]) -> Option<Summary> {
        let len = c_int::try_from(page.len()).ok()?;
        // SAFETY: the page lives until the document is freed, everything is freed once, and only on this thread.
        unsafe {
            let no_text = std::ptr::null();
            let document = (self.read_memory)(page.as_ptr().cast(), len, no_text, no_text, OPTIONS);
            if document.is_null() {
                return None;
            }
            let context = (self.new_context)(document);
            let title = self.ask(context, c"normalize-space(//title)");
            let links = self.ask(context, c"count(//a[@href])").and_then(|count| count.parse().ok());
            if !context.is_null() {
                (self.free_context)(context);
            }
            (self.free_document)(document);
            Some(Summary { title: title?, links: links? })
        }
    }

    /// The value of an XPath expression.
    ///
    /// # Safety
    ///
    /// The context must be the library's, or null.
    unsafe fn ask(self, context: *mut c_void, expression: &CStr) -> Option<String> {
        if context.is_null() {
            return None;
        }
        // SAFETY: results are checked before they are used, and freed once; texts end with a zero.
        unsafe {
            let result = (self.evaluate)(expression.as_ptr(), context);
            if result.is_null() {
                return None;
            }
            let text = (self.to_text)(result);
            let owned = (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned());
            if !text.is_null() {
                (self.free_text)(text.cast());
            }
            (self.free_result)(result);
            owned
        }
    }
}
