/* SPDX-License-Identifier: MPL-2.0 */
/*
 * json_time: times as people and JSON write them
 *
 * PURPOSE
 *   Milliseconds since 1970 to and from RFC 3339. The civil calendar is computed (the method of Howard Hinnant's "chrono-
 *   compatible low-level date algorithms"), so neither the time zone nor the locale of the process matters.
 *
 * FAILURES
 *   A text that is not a date-time of RFC 3339, a day that the month does not have, a time before 1970.
 *
 * LIMITS
 *   Years 1970 to 9999; a leap second (:60) is refused.
 */
#include "json.h"

#define DAY_MS INT64_C(86400000)
#define ERA_DAYS 146097
#define EPOCH_DAYS 719468 /* from 0000-03-01 to 1970-01-01 */

static const char SHAPE[JSON_TIME_SIZE] = "0000-00-00T00:00:00.000Z";

struct date {
    int64_t year;
    int64_t month;
    int64_t day;
};

static struct date
date_of_days(int64_t days)
{
    int64_t shifted = days + EPOCH_DAYS;
    int64_t era = shifted / ERA_DAYS;
    int64_t day_of_era = shifted - era * ERA_DAYS;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    struct date date = {.day = day_of_year - (153 * month_from_march + 2) / 5 + 1};
    date.month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    date.year = year_of_era + era * 400 + (date.month <= 2 ? 1 : 0);
    return date;
}

static int64_t
days_of_date(struct date date)
{
    int64_t year = date.month <= 2 ? date.year - 1 : date.year;
    int64_t era = year / 400;
    int64_t year_of_era = year - era * 400;
    int64_t month_from_march = date.month > 2 ? date.month - 3 : date.month + 9;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + date.day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * ERA_DAYS + day_of_era - EPOCH_DAYS;
}

static void
put_digits(char *out, int64_t value, int digits)
{
    for (int i = digits - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

void
json_time_format(int64_t utc_ms, char text[JSON_TIME_SIZE])
{
    struct date date = date_of_days(utc_ms / DAY_MS);
    int64_t ms = utc_ms % DAY_MS;
    for (size_t i = 0; i < JSON_TIME_SIZE; i++) {
        text[i] = SHAPE[i];
    }
    put_digits(text, date.year, 4);
    put_digits(text + 5, date.month, 2);
    put_digits(text + 8, date.day, 2);
    put_digits(text + 11, ms / 3600000, 2);
    put_digits(text + 14, ms / 60000 % 60, 2);
    put_digits(text + 17, ms / 1000 % 60, 2);
    put_digits(text + 20, ms % 1000, 3);
}

/* What is left to read. */
struct scan {
    const uint8_t *data;
    size_t size;
};

static bool
take_digits(struct scan *scan, size_t digits, int64_t *value)
{
    if (scan->size < digits) {
        return false;
    }
    *value = 0;
    for (size_t i = 0; i < digits; i++) {
        if (scan->data[i] < '0' || scan->data[i] > '9') {
            return false;
        }
        *value = *value * 10 + (scan->data[i] - '0');
    }
    scan->data += digits;
    scan->size -= digits;
    return true;
}

static bool
take_one(struct scan *scan, const char *allowed)
{
    if (scan->size == 0 || scan->data[0] == 0 || strchr(allowed, scan->data[0]) == NULL) {
        return false;
    }
    scan->data++;
    scan->size--;
    return true;
}

static bool
take_fraction(struct scan *scan, int64_t *ms)
{
    int64_t digit = 0;
    int64_t weight = 100;
    *ms = 0;
    if (!take_one(scan, ".")) {
        return true;
    }
    if (!take_digits(scan, 1, &digit)) {
        return false;
    }
    do {
        *ms += digit * weight;
        weight /= 10;
    } while (take_digits(scan, 1, &digit));
    return true;
}

static bool
take_offset(struct scan *scan, int64_t *minutes)
{
    int64_t hour = 0;
    int64_t minute = 0;
    bool is_west = scan->size > 0 && scan->data[0] == '-';
    *minutes = 0;
    if (take_one(scan, "Zz")) {
        return true;
    }
    if (!take_one(scan, "+-") || !take_digits(scan, 2, &hour) || !take_one(scan, ":") || !take_digits(scan, 2, &minute)) {
        return false;
    }
    *minutes = (hour * 60 + minute) * (is_west ? -1 : 1);
    return hour < 24 && minute < 60;
}

bool
json_time_parse(struct slice text, int64_t *utc_ms)
{
    struct scan scan = {text.data, text.size};
    struct date date = {0};
    int64_t hour = 0;
    int64_t minute = 0;
    int64_t second = 0;
    int64_t ms = 0;
    int64_t offset = 0;
    if (!take_digits(&scan, 4, &date.year) || !take_one(&scan, "-") || !take_digits(&scan, 2, &date.month) || !take_one(&scan, "-") ||
        !take_digits(&scan, 2, &date.day) || !take_one(&scan, "Tt ")) {
        return false;
    }
    if (!take_digits(&scan, 2, &hour) || !take_one(&scan, ":") || !take_digits(&scan, 2, &minute) || !take_one(&scan, ":") ||
        !take_digits(&scan, 2, &second) || !take_fraction(&scan, &ms) || !take_offset(&scan, &offset) || scan.size != 0) {
        return false;
    }
    if (date.year < 1970 || date.month < 1 || date.month > 12 || hour > 23 || minute > 59 || second > 59) {
        return false;
    }
    int64_t days = days_of_date(date);
    struct date back = date_of_days(days);
    *utc_ms = days * DAY_MS + ((hour * 60 + minute - offset) * 60 + second) * 1000 + ms;
    return back.day == date.day && back.month == date.month && *utc_ms >= 0;
}
