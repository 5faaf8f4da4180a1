#include "consumers/segment/epoch.h"

/* Selection by Hoare and Wirth, with the median of three; sorted, reversed and equal values are no worse than others. */
int64_t epoch_rank(int64_t *values, size_t count, size_t rank)
{
    int64_t low = 0, high = (int64_t)count - 1, want = (int64_t)rank - 1;
    while (low < high) {
        int64_t a = values[low], b = values[low + (high - low) / 2], c = values[high];
        int64_t pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        int64_t left = low, right = high;
        do {
            while (values[left] < pivot)
                left++;
            while (pivot < values[right])
                right--;
            if (left <= right) {
                int64_t swapped = values[left];
                values[left++] = values[right];
                values[right--] = swapped;
            }
        } while (left <= right);
        if (right < want)
            low = left;
        if (want < left)
            high = right;
    }
    return values[want];
}

void epoch_cuts(int64_t *values, size_t count, int64_t ret[CUTS])
{
    size_t done = 0;
    for (size_t at = 1; at <= CUTS; at++) {
        size_t rank = (at * count + CUTS) / (CUTS + 1);
        /* What was selected lies at its place, with nothing larger before it: the next one is behind, or the same. */
        ret[at - 1] = rank > done ? epoch_rank(values + done, count - done, rank - done) : ret[at - 2];
        done = rank;
    }
}

void epoch_threshold(struct epoch *ret, int64_t *spends, size_t count, int32_t percent)
{
    size_t base = 0;
    for (size_t at = 0; at < count; at++) {
        int64_t spend_minor = spends[at];
        spends[base] = spend_minor;
        base += spend_minor > 0;
    }
    ret->base = (int64_t)base;
    ret->k = epoch_k(ret->base, percent);
    ret->threshold_minor = base == 0 ? 0 : epoch_rank(spends, base, base - (size_t)ret->k + 1);
}
