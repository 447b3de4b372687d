#include "base/date.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define LAST_S 253402300799 // 9999-12-31 23:59:59

static const char days[] = "SunMonTueWedThuFriSat";
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

static void write_date(char ret[DATE_BYTES], int64_t time_s, const char *zone)
{
    struct tm t = {0};
    time_t when = (time_t)KB_MAX(KB_MIN(time_s, LAST_S), 0);
    gmtime_r(&when, &t);
    snprintf(ret, DATE_BYTES, "%.3s, %02d %.3s %04d %02d:%02d:%02d %s", days + 3 * t.tm_wday,
             t.tm_mday, months + 3 * t.tm_mon, (t.tm_year + 1900) % 10000, t.tm_hour, t.tm_min,
             t.tm_sec, zone);
}

void date_http(char ret[DATE_BYTES], int64_t time_s)
{
    write_date(ret, time_s, "GMT");
}

void date_mail(char ret[DATE_BYTES], int64_t time_s)
{
    write_date(ret, time_s, "+0000");
}

bool date_http_parse(const char *text, int64_t *ret_time_s)
{
    char month[4] = "", again[DATE_BYTES];
    struct tm t = {0};
    if (sscanf(text, "%*3c, %2d %3s %4d %2d:%2d:%2d", &t.tm_mday, month, &t.tm_year, &t.tm_hour,
               &t.tm_min, &t.tm_sec) != 6)
        return false;
    const char *m = strstr(months, month);
    if (!m)
        return false;
    t.tm_mon = (int)(m - months) / 3;
    t.tm_year -= 1900;
    int64_t time_s = timegm(&t);
    date_http(again, time_s); // tells every other mistake: a 31st of February, a wrong day, a rest
    if (strcmp(again, text) != 0)
        return false;
    *ret_time_s = time_s;
    return true;
}
