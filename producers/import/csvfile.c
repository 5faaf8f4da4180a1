#include "producers/import/csvfile.h"

#include <assert.h>
#include <csv.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_SIZE = 4 * CSV_ROW_SIZE_MAX, BOM_SIZE = 3 };

struct csvfile {
    char path[512];
    int fd;
    struct stat opened; /* as it was: a file that changes while it is read is no file to import */
    struct csv_parser parser;
    char line_end;     /* '\n', or '\r' for files that know no other */
    int32_t lines_max; /* of a row */
    bool at_eof;

    char *buffer;
    size_t start, end; /* what is in the buffer and not yet given out */
    int64_t read_size; /* bytes taken from the file so far */
    int64_t line;      /* number of the line that begins at start */
    int64_t blank_lines;

    /* The row that is being put together. */
    char *bytes; /* the fields, each with a NUL after it */
    size_t bytes_used;
    size_t field_count; /* may exceed CSV_FIELDS_MAX; fields[] does not */
    bool complete;
    struct text fields[CSV_FIELDS_MAX];

    char *header_bytes;
    struct text header[CSV_FIELDS_MAX];
    size_t header_count;
};

/* Blanks are data; what to strip is the profile's business. */
static int no_space(unsigned char c)
{
    (void)c;
    return 0;
}

/* Every line is fed with LF at its end, whatever it has in the file. A CR elsewhere is data. */
static int line_feed(unsigned char c)
{
    return c == '\n';
}

static void take_field(void *data, size_t size, void *self)
{
    struct csvfile *file = self;
    if (file->field_count < CSV_FIELDS_MAX) {
        char *to = file->bytes + file->bytes_used;
        if (size > 0)
            memcpy(to, data, size);
        to[size] = '\0';
        file->bytes_used += size + 1;
        file->fields[file->field_count] = (struct text){to, (uint32_t)size};
    }
    file->field_count++;
}

static void take_row(int end, void *self)
{
    (void)end;
    struct csvfile *file = self;
    file->complete = true;
}

static void begin_row(struct csvfile *file)
{
    csv_fini(&file->parser, NULL, NULL, NULL); /* forgets a row begun */
    file->bytes_used = 0;
    file->field_count = 0;
    file->complete = false;
}

/* Moves the bytes that are not given out to the front and reads on. */
static enum ll_status fill(struct csvfile *file, struct ll_err *err)
{
    memmove(file->buffer, file->buffer + file->start, file->end - file->start);
    file->end -= file->start;
    file->start = 0;
    while (file->end < BUFFER_SIZE && !file->at_eof) {
        ssize_t got = read(file->fd, file->buffer + file->end, BUFFER_SIZE - file->end);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return ll_fail(err, LL_FATAL, "%s: cannot be read: %s", file->path, strerror(errno));
        file->at_eof = got == 0;
        file->end += (size_t)got;
        file->read_size += got;
    }
    struct stat now;
    if (file->at_eof && (fstat(file->fd, &now) != 0 || now.st_size != file->opened.st_size ||
                         now.st_mtim.tv_sec != file->opened.st_mtim.tv_sec ||
                         now.st_mtim.tv_nsec != file->opened.st_mtim.tv_nsec))
        return ll_fail(err, LL_FATAL, "%s changed while it was read: import it again when it is complete",
                       file->path);
    return LL_OK;
}

/* Finds the line that begins `skip` bytes behind start. *ret_size is without its end, *ret_whole with it;
 * *ret_found false: it is longer than limit (the end of the file ends a line, too). */
static enum ll_status find_line(struct csvfile *file, size_t skip, size_t limit, size_t *ret_size,
                                size_t *ret_whole, bool *ret_found, struct ll_err *err)
{
    if (file->end - file->start < skip + limit + 2 && !file->at_eof) {
        enum ll_status status = fill(file, err);
        if (status != LL_OK)
            return status;
    }
    const char *from = file->buffer + file->start + skip;
    size_t have = file->end - file->start - skip;
    const char *end = have == 0 ? NULL : memchr(from, file->line_end, have);
    size_t size = end == NULL ? have : (size_t)(end - from);
    *ret_whole = end == NULL ? size : size + 1;
    if (file->line_end == '\n' && end != NULL && size > 0 && from[size - 1] == '\r')
        size--;
    *ret_size = size;
    *ret_found = size <= limit;
    return LL_OK;
}

/* Feeds one physical line. False: libcsv refused it. */
static bool feed_line(struct csvfile *file, char *line, size_t size, size_t whole)
{
    if (whole == size) /* the file's last, without an end */
        return csv_parse(&file->parser, line, size, take_field, take_row, file) == size &&
               csv_parse(&file->parser, "\n", 1, take_field, take_row, file) == 1;
    char kept = line[size];
    line[size] = '\n';
    bool good = csv_parse(&file->parser, line, size + 1, take_field, take_row, file) == size + 1;
    line[size] = kept;
    return good;
}

static void give(struct csvfile *file, struct csv_row *ret, size_t raw_size, size_t consumed, int32_t lines)
{
    ret->line = file->line;
    ret->line_count = lines;
    ret->raw = (struct text){file->buffer + file->start, (uint32_t)raw_size};
    ret->fields = file->fields;
    ret->field_count = file->field_count < CSV_FIELDS_MAX ? file->field_count : CSV_FIELDS_MAX;
    file->start += consumed;
    file->line += lines;
}

/* The line at start is too long for any row: give its beginning, let the rest go. */
static enum ll_status give_overlong(struct csvfile *file, struct csv_row *ret, struct ll_err *err)
{
    static const char cut_note[] = "the line has %lld bytes, more than %d: its first %d are kept";
    char *kept = file->bytes;
    memcpy(kept, file->buffer + file->start, CSV_ROW_SIZE_MAX);
    int64_t size = 0;
    for (;;) {
        const char *from = file->buffer + file->start;
        size_t have = file->end - file->start;
        const char *end = memchr(from, file->line_end, have);
        size_t part = end == NULL ? have : (size_t)(end - from);
        size += (int64_t)part;
        file->start += end == NULL ? part : part + 1;
        if (end != NULL || (file->at_eof && file->start == file->end))
            break;
        enum ll_status status = fill(file, err);
        if (status != LL_OK)
            return status;
    }
    give(file, ret, 0, 0, 1);
    ret->raw = (struct text){kept, CSV_ROW_SIZE_MAX};
    ret->field_count = 0;
    ret->code = CODE_CSV_LIMIT;
    snprintf(ret->why, sizeof ret->why, cut_note, (long long)size, CSV_ROW_SIZE_MAX, CSV_ROW_SIZE_MAX);
    return LL_OK;
}

/* The row that began at start is broken. Only its first line goes: a forgotten quote must not take its
 * neighbours along. */
static void give_broken(struct csvfile *file, struct csv_row *ret, size_t first_size, size_t first_whole,
                        int32_t lines, const char *why)
{
    give(file, ret, first_size, first_whole, 1);
    ret->field_count = 0;
    ret->code = CODE_CSV_SYNTAX;
    if (lines > 1)
        snprintf(ret->why, sizeof ret->why,
                 "a quote that opens here %s (seen on line %lld); reading goes on at line %lld", why,
                 (long long)(ret->line + lines - 1), (long long)file->line);
    else
        snprintf(ret->why, sizeof ret->why, "%s", why);
}

static void check_columns(const struct csvfile *file, struct csv_row *ret)
{
    ret->code = CODE_NONE;
    ret->why[0] = '\0';
    if (file->header_count != 0 && file->field_count != file->header_count) {
        ret->code = CODE_CSV_COLUMNS;
        snprintf(ret->why, sizeof ret->why, "%zu columns where the header has %zu", file->field_count,
                 file->header_count);
    }
}

/* Skips empty lines. *ret_more false: nothing is left. */
static enum ll_status skip_blank(struct csvfile *file, bool *ret_more, struct ll_err *err)
{
    for (;;) {
        size_t size, whole;
        bool found;
        enum ll_status status = find_line(file, 0, CSV_ROW_SIZE_MAX, &size, &whole, &found, err);
        if (status != LL_OK)
            return status;
        *ret_more = whole > 0;
        if (whole == 0 || size > 0)
            return LL_OK;
        file->start += whole;
        file->line++;
        file->blank_lines++;
    }
}

enum ll_status csvfile_next(struct csvfile *file, struct csv_row *ret, bool *ret_more, struct ll_err *err)
{
    enum ll_status status = skip_blank(file, ret_more, err);
    if (status != LL_OK || !*ret_more)
        return status;
    begin_row(file);
    size_t consumed = 0, first_size = 0, first_whole = 0;
    for (int32_t lines = 1;; lines++) {
        size_t size, whole;
        bool found;
        status = find_line(file, consumed, CSV_ROW_SIZE_MAX - consumed, &size, &whole, &found, err);
        if (status != LL_OK)
            return status;
        if (lines == 1) {
            if (!found)
                return give_overlong(file, ret, err);
            first_size = size;
            first_whole = whole;
        }
        bool ended = lines > 1 && whole == 0;
        if (!found || ended) {
            give_broken(file, ret, first_size, first_whole, lines,
                        ended ? "never closes" : "does not close within a row's limit");
            return LL_OK;
        }
        if (!feed_line(file, file->buffer + file->start + consumed, size, whole)) {
            give_broken(file, ret, first_size, first_whole, lines,
                        lines > 1 ? "does not close as it should" : "a quote stands where none may be");
            return LL_OK;
        }
        if (file->complete && lines > 1 && file->header_count != 0 &&
            file->field_count != file->header_count) {
            give_broken(file, ret, first_size, first_whole, lines,
                        "encloses line breaks and gives the wrong number of columns");
            return LL_OK;
        }
        if (file->complete) {
            give(file, ret, consumed + size, consumed + whole, lines);
            check_columns(file, ret);
            return LL_OK;
        }
        if (lines == file->lines_max) {
            give_broken(file, ret, first_size, first_whole, lines,
                        lines > 1 ? "does not close within a row's limit"
                                  : "a quote that opens here does not close on its line");
            return LL_OK;
        }
        consumed += whole;
        if (consumed > CSV_ROW_SIZE_MAX - 2) {
            give_broken(file, ret, first_size, first_whole, lines + 1, "does not close within a row's limit");
            return LL_OK;
        }
    }
}

static enum ll_status read_header(struct csvfile *file, struct ll_err *err)
{
    enum ll_status status = fill(file, err);
    if (status != LL_OK)
        return status;
    const unsigned char *bytes = (const unsigned char *)file->buffer;
    if (file->end >= 2 && ((bytes[0] == 0xff && bytes[1] == 0xfe) || (bytes[0] == 0xfe && bytes[1] == 0xff)))
        return ll_fail(err, LL_FATAL, "%s is UTF-16: convert it first (iconv -f UTF-16 -t UTF-8)",
                       file->path);
    if (file->end >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b)
        return ll_fail(err, LL_FATAL, "%s is compressed: gunzip it first", file->path);
    if (file->end >= BOM_SIZE && memcmp(bytes, "\xef\xbb\xbf", BOM_SIZE) == 0)
        file->start = BOM_SIZE;
    if (memchr(bytes, '\n', file->end) == NULL && memchr(bytes, '\r', file->end) != NULL)
        file->line_end = '\r';

    struct csv_row row;
    bool more;
    status = csvfile_next(file, &row, &more, err);
    if (status != LL_OK)
        return status;
    if (!more)
        return ll_fail(err, LL_FATAL, "%s is empty: its first line must name the columns", file->path);
    if (row.code != CODE_NONE || file->field_count > CSV_FIELDS_MAX)
        return ll_fail(err, LL_FATAL, "%s:%lld: the header cannot be read: %s", file->path,
                       (long long)row.line, row.code != CODE_NONE ? row.why : "it has too many columns");
    file->header_bytes = malloc(file->bytes_used);
    if (file->header_bytes == NULL)
        abort();
    memcpy(file->header_bytes, file->bytes, file->bytes_used);
    for (size_t i = 0; i < row.field_count; i++)
        file->header[i] =
            (struct text){file->header_bytes + (file->fields[i].data - file->bytes), file->fields[i].size};
    file->header_count = row.field_count;
    return LL_OK;
}

enum ll_status csvfile_open(const char *path, const struct csv_format *format, struct csvfile **ret,
                            struct ll_err *err)
{
    struct csvfile *file = calloc(1, sizeof *file);
    if (file == NULL)
        abort();
    file->line = 1;
    file->line_end = '\n';
    file->lines_max = format->line_breaks ? CSV_ROW_LINES_MAX : 1;
    snprintf(file->path, sizeof file->path, "%s", path);
    file->buffer = malloc(BUFFER_SIZE);
    file->bytes = malloc(2 * CSV_ROW_SIZE_MAX + CSV_FIELDS_MAX);
    if (file->buffer == NULL || file->bytes == NULL || csv_init(&file->parser, CSV_STRICT) != 0)
        abort();
    csv_set_delim(&file->parser, (unsigned char)format->delimiter);
    csv_set_space_func(&file->parser, no_space);
    csv_set_term_func(&file->parser, line_feed);

    enum ll_status status = LL_OK;
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0 || fstat(file->fd, &file->opened) != 0)
        status = ll_fail(err, LL_FATAL, "%s: cannot be opened: %s", path, strerror(errno));
    else if (!S_ISREG(file->opened.st_mode))
        status =
            ll_fail(err, LL_FATAL, "%s is not a regular file: a killed import could not read it again", path);
    if (status == LL_OK)
        status = read_header(file, err);
    if (status != LL_OK) {
        csvfile_close(file);
        return status;
    }
    *ret = file;
    return LL_OK;
}

void csvfile_close(struct csvfile *file)
{
    if (file == NULL)
        return;
    if (file->fd >= 0)
        close(file->fd);
    csv_free(&file->parser);
    free(file->buffer);
    free(file->bytes);
    free(file->header_bytes);
    free(file);
}

const struct text *csvfile_header(const struct csvfile *file, size_t *ret_count)
{
    *ret_count = file->header_count;
    return file->header;
}

int64_t csvfile_size(const struct csvfile *file)
{
    return file->opened.st_size;
}

int64_t csvfile_modified_ns(const struct csvfile *file)
{
    return file->opened.st_mtim.tv_sec * INT64_C(1000000000) + file->opened.st_mtim.tv_nsec;
}

int64_t csvfile_offset(const struct csvfile *file)
{
    return file->read_size - (int64_t)(file->end - file->start);
}

int64_t csvfile_blank_lines(const struct csvfile *file)
{
    return file->blank_lines;
}
