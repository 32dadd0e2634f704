// A library with thread-locals: TLS_MODEL says of which kind.

static __thread long counter __attribute__((tls_model(TLS_MODEL))) = 5;
static __thread long zeros[40] __attribute__((tls_model(TLS_MODEL)));
static long seen_by_constructor;

__attribute__((constructor)) static void begin(void) {
    seen_by_constructor = counter;
}

long locals_seen_by_constructor(void) {
    return seen_by_constructor;
}

// Counts, and says what the counter was; -1 if what is zero at first is not.
long locals_count(void) {
    for (int at = 0; at < 40; at++)
        if (zeros[at] != counter - 5)
            return -1;
    for (int at = 0; at < 40; at++)
        zeros[at]++;
    return counter++;
}
