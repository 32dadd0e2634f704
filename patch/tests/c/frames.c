/* Frames as C libraries have them: large, and not touched page by page (no -fstack-clash-protection). */

/* Writes the lowest byte of a frame of 200 KiB first, as a parser does that fills a buffer from its start. */
int library_large_frame(int value) {
    volatile char buffer[200 * 1024];
    buffer[0] = value;
    return buffer[0];
}
