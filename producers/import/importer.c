#include "producers/import/importer.h"

#include "producers/import/csvfile.h"
#include "producers/import/group.h"
#include "producers/import/map.h"

#include <stdlib.h>

/* One kind of file: where in its files we are. */
struct lane {
    int first, count, at; /* indices into the file set; at: the one that is open, or the next */
    struct csvfile *csv;
    struct mapper *mapper;
    int64_t size, done_size; /* bytes of all its files, and of those that are behind us */
    int64_t rows;
};

struct importer {
    const struct profile *profile;
    const struct fileset *files;
    struct calendar *calendar;
    struct output output;
    struct groups *groups;
    struct lane lanes[PROFILE_KIND_COUNT];
    int64_t *file_rows;
    int64_t bytes_behind; /* of files that are closed */
    bool settled;
    struct mapped mapped;
};

static enum ll_status open_file(struct importer *importer, const struct fileset_file *file,
                                struct csvfile **ret_csv, struct mapper **ret_mapper, struct ll_err *err)
{
    size_t columns;
    struct csv_format format = {importer->profile->delimiter, importer->profile->line_breaks};
    enum ll_status status = csvfile_open(file->path, &format, ret_csv, err);
    if (status != LL_OK)
        return status;
    /* The sum that the import is known by is of the file as it was then. */
    if (csvfile_size(*ret_csv) != file->size || csvfile_modified_ns(*ret_csv) != file->modified_ns) {
        csvfile_close(*ret_csv);
        return ll_fail(err, LL_FATAL, "%s changed while it was read: import it again when it is complete",
                       file->path);
    }
    const struct text *header = csvfile_header(*ret_csv, &columns);
    status = mapper_new(importer->profile, file->spec, file->name, importer->calendar, header, columns,
                        ret_mapper, err);
    if (status != LL_OK)
        csvfile_close(*ret_csv);
    return status;
}

static void close_file(struct lane *lane)
{
    csvfile_close(lane->csv);
    mapper_free(lane->mapper);
    lane->csv = NULL;
    lane->mapper = NULL;
}

static enum ll_status check_headers(struct importer *importer, struct ll_err *err)
{
    for (int i = 0; i < importer->files->count; i++) {
        struct csvfile *csv = NULL;
        struct mapper *mapper = NULL;
        enum ll_status status = open_file(importer, &importer->files->files[i], &csv, &mapper, err);
        if (status != LL_OK)
            return status;
        csvfile_close(csv);
        mapper_free(mapper);
    }
    return LL_OK;
}

enum ll_status importer_open(const struct profile *profile, const struct fileset *files,
                             struct calendar *calendar, const struct import_sink *sink, struct importer **ret,
                             struct ll_err *err)
{
    struct importer *importer = calloc(1, sizeof *importer);
    if (importer == NULL)
        abort();
    *importer = (struct importer){
        .profile = profile, .files = files, .calendar = calendar, .output = {.sink = *sink}};
    importer->file_rows = calloc((size_t)files->count, sizeof *importer->file_rows);
    if (importer->file_rows == NULL)
        abort();
    importer->groups = groups_new(profile, &importer->output);
    for (int i = files->count - 1; i >= 0; i--) { /* the set is sorted by kind */
        struct lane *lane = &importer->lanes[files->files[i].spec->kind];
        lane->first = lane->at = i;
        lane->count++;
        lane->size += files->files[i].size;
    }
    enum ll_status status = check_headers(importer, err);
    if (status != LL_OK) {
        importer_close(importer);
        return status;
    }
    *ret = importer;
    return LL_OK;
}

void importer_close(struct importer *importer)
{
    if (importer == NULL)
        return;
    for (int kind = 0; kind < PROFILE_KIND_COUNT; kind++)
        close_file(&importer->lanes[kind]);
    groups_free(importer->groups);
    free(importer->file_rows);
    free(importer);
}

static enum ll_status take_reference(struct importer *importer, const struct fileset_file *file,
                                     const struct csv_row *row, struct ll_err *err)
{
    const struct mapped *mapped = &importer->mapped;
    if (mapped->codes == 0)
        return output_event(&importer->output, file->spec->topic, &mapped->reference, 1, err);
    struct dead_row dead = {.codes = mapped->codes,
                            .message = mapped->message,
                            .raw = row->raw,
                            .file = file->name,
                            .line = row->line,
                            .topic = file->spec->topic};
    return output_dead(&importer->output, &dead, err);
}

/* One row of a kind. *ret_more false: it has no more. */
static enum ll_status step_lane(struct importer *importer, enum profile_kind kind, bool *ret_more,
                                struct ll_err *err)
{
    struct lane *lane = &importer->lanes[kind];
    *ret_more = lane->at < lane->first + lane->count;
    if (!*ret_more)
        return LL_OK;
    const struct fileset_file *file = &importer->files->files[lane->at];
    enum ll_status status = LL_OK;
    if (lane->csv == NULL)
        status = open_file(importer, file, &lane->csv, &lane->mapper, err);
    struct csv_row row;
    bool more;
    if (status == LL_OK)
        status = csvfile_next(lane->csv, &row, &more, err);
    if (status != LL_OK)
        return status;
    if (!more) {
        importer->output.counts.lines_blank += csvfile_blank_lines(lane->csv);
        importer->bytes_behind += file->size;
        lane->done_size += file->size;
        lane->at++;
        close_file(lane);
        return LL_OK;
    }
    importer->output.counts.lines_read++;
    importer->file_rows[lane->at]++;
    mapper_map(lane->mapper, &row, &importer->mapped);
    if (kind < PROFILE_TRANSACTION_LINES)
        return take_reference(importer, file, &row, err);
    return groups_add(importer->groups, kind, file->name, lane->rows++, &row, &importer->mapped, err);
}

static bool lane_done(const struct lane *lane)
{
    return lane->at == lane->first + lane->count;
}

/* Is a's share of bytes behind it at most b's? Both have some. */
static bool is_behind(const struct lane *a, const struct lane *b)
{
    int64_t a_at = a->done_size + (a->csv != NULL ? csvfile_offset(a->csv) : 0);
    int64_t b_at = b->done_size + (b->csv != NULL ? csvfile_offset(b->csv) : 0);
    return (double)a_at * (double)b->size <= (double)b_at * (double)a->size;
}

/* PROFILE_KIND_COUNT: all is read. */
static enum profile_kind next_kind(const struct importer *importer)
{
    for (int kind = 0; kind < PROFILE_SALES; kind++)
        if (!lane_done(&importer->lanes[kind]))
            return (enum profile_kind)kind;
    const struct lane *sales = &importer->lanes[PROFILE_SALES], *lines = &importer->lanes[PROFILE_SALE_LINES];
    if (lane_done(sales))
        return lane_done(lines) ? PROFILE_KIND_COUNT : PROFILE_SALE_LINES;
    return lane_done(lines) || is_behind(sales, lines) ? PROFILE_SALES : PROFILE_SALE_LINES;
}

static enum ll_status finish(struct importer *importer, struct ll_err *err)
{
    enum ll_status status = groups_finish(importer->groups, err);
    const struct import_counts *counts = &importer->output.counts;
    if (status == LL_OK && counts->lines_read != counts->lines_good + counts->lines_bad)
        return ll_fail(err, LL_FATAL,
                       "rows were lost: %lld read, %lld good, %lld bad; nothing since the last mark is kept",
                       (long long)counts->lines_read, (long long)counts->lines_good,
                       (long long)counts->lines_bad);
    return status;
}

enum ll_status importer_step(struct importer *importer, int rows, bool *ret_more, struct ll_err *err)
{
    *ret_more = true;
    for (int i = 0; i < rows; i++) {
        enum profile_kind kind = next_kind(importer);
        enum ll_status status = LL_OK;
        bool more;
        if (!importer->settled && kind >= PROFILE_TRANSACTION_LINES) {
            importer->settled = true;
            status = importer->output.sink.settle(importer->output.sink.self, err);
        }
        if (kind == PROFILE_KIND_COUNT) {
            *ret_more = false;
            return status == LL_OK ? finish(importer, err) : status;
        }
        if (status == LL_OK)
            status = step_lane(importer, kind, &more, err);
        if (status != LL_OK)
            return status;
    }
    return LL_OK;
}

const struct import_counts *importer_counts(const struct importer *importer)
{
    return &importer->output.counts;
}

int64_t importer_file_rows(const struct importer *importer, int index)
{
    return importer->file_rows[index];
}

int64_t importer_bytes(const struct importer *importer)
{
    int64_t bytes = importer->bytes_behind;
    for (int kind = 0; kind < PROFILE_KIND_COUNT; kind++)
        if (importer->lanes[kind].csv != NULL)
            bytes += csvfile_offset(importer->lanes[kind].csv);
    return bytes;
}
