/* SPDX-License-Identifier: BSD-3-Clause
 *
 * --plot: a picture of all cases of a run, size against rate, and below it how many times memcpy that
 * is. gnuplot draws it, from a file of data that stays beside the picture. A path and what stands for
 * it without kvferry share a colour: the path is drawn solid, the other dashed. Rank 0 only; waits for
 * gnuplot.
 */
#include "config.h"

#include "bench.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cli.h"

#define SUFFIX ".svg"
#define CURVES (BENCH_PATHS + BENCH_PEERS + 1) /* the other paths' floor */

static const struct {
    const char *name;
    bool path;
    const char *colour;
} colours[] = {{"self", true, "#56b4e9"},    {"shm", true, "#0072b2"},      {"cma", true, "#009e73"},
               {"adopt", true, "#e69f00"},   {"stage", true, "#cc79a7"},    {"am", true, "#d55e00"},
               {"memcpy", false, "#000000"}, {"stream", false, "#999999"},  {"cma", false, "#009e73"},
               {"socket", false, "#d55e00"}, {"mpi-shm", false, "#8c6bb1"}, {"mpi-rma", false, "#b8860b"},
               {"ucx", false, "#c2185b"}};

struct curve {
    const char *name, *label; /* as of its points */
    bool ratio;               /* some of them have one */
};

/* ------------------------------------------------------------------ before the run */

static bool has_program(const char *program)
{
    const char *dirs = getenv("PATH");
    char file[4096];
    size_t len;

    while (dirs != NULL && *dirs != '\0') {
        len = strcspn(dirs, ":");
        snprintf(file, sizeof(file), "%.*s/%s", (int)len, dirs, program);
        if (access(file, X_OK) == 0) {
            return true;
        }
        dirs += len + (dirs[len] == ':');
    }
    return false;
}

static char *data_name(const char *plot)
{
    size_t len = strlen(plot) - strlen(SUFFIX);
    char *name = NULL;

    if (asprintf(&name, "%.*s.dat", (int)len, plot) < 0) {
        kvfi_cli_fail("--plot: no memory");
        return NULL;
    }
    return name;
}

int kvfi_bench_plot_check(const struct bench_args *args)
{
    const char *plot = args->plot;
    size_t len = strlen(plot), suffix = strlen(SUFFIX);
    char *data;
    int rc;

    if (len <= suffix || strcmp(plot + len - suffix, SUFFIX) != 0) {
        return kvfi_cli_fail("--plot: \"%s\" does not end in %s", plot, SUFFIX);
    }
    if (!has_program("gnuplot")) {
        return kvfi_cli_fail("--plot: gnuplot is not installed (Debian: gnuplot-nox); --json gives "
                             "the figures without it");
    }
    data = data_name(plot);
    rc = data == NULL || kvfi_out_check("--plot", plot) != 0 || kvfi_out_check("--plot", data) != 0 ||
                 kvfi_out_apart("--plot", plot, "--json", args->json) != 0 ||
                 kvfi_out_apart("--plot", data, "--json", args->json) != 0 ||
                 kvfi_out_apart("--plot", plot, "its figures", data) != 0
             ? -1
             : 0;
    free(data);
    return rc;
}

/* ------------------------------------------------------------------ data */

static bool same(const struct curve *curve, const struct bench_point *point)
{
    return strcmp(curve->name, point->name) == 0 && (curve->label == NULL) == (point->label == NULL);
}

/* Paths first, in the order in which they ran, then the others. */
static size_t list_curves(const struct bench_report *report, struct curve *curves)
{
    size_t count = 0;

    for (int paths = 1; paths >= 0; paths--) {
        for (size_t i = 0; i < report->point_count; i++) {
            const struct bench_point *point = &report->points[i];
            size_t known = 0;
            while (known < count && !same(&curves[known], point)) {
                known++;
            }
            if ((point->label == NULL) != (paths == 1) || known == CURVES) {
                continue;
            }
            if (known == count) {
                curves[count++] = (struct curve){point->name, point->label, false};
            }
            curves[known].ratio |= !isnan(point->ratio);
        }
    }
    return count;
}

static void write_curve(FILE *file, const struct bench_report *report, const struct curve *curve)
{
    fprintf(file, "# %s%s\n", curve->label == NULL ? "kvferry " : "", curve->name);
    for (size_t i = 0; i < report->point_count; i++) {
        const struct bench_point *point = &report->points[i];
        if (!same(curve, point)) {
            continue;
        }
        fprintf(file, "%llu %.4f ", (unsigned long long)point->piece, point->gbps);
        if (isnan(point->ratio)) {
            fputs("?\n", file);
        } else {
            fprintf(file, "%.4f\n", point->ratio);
        }
    }
    fputs("\n\n", file);
}

static int write_data(const char *name, const struct bench_args *args, const struct bench_report *report,
                      const struct curve *curves, size_t count)
{
    struct kvfi_out out;

    if (kvfi_out_open("--plot", name, &out) != 0) {
        return -1;
    }
    fprintf(out.file, "# kvf_bench %s, %s, net %s: bytes of a piece, GB/s, times memcpy\n", kvf_version(),
            args->dir == KVF_READ ? "read" : "write", args->net);
    for (size_t i = 0; i < count; i++) {
        write_curve(out.file, report, &curves[i]);
    }
    return kvfi_out_close(&out);
}

/* ------------------------------------------------------------------ gnuplot */

/* In single quotes, where only the quote itself is special. */
static void quote(FILE *file, const char *text)
{
    fputc('\'', file);
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            fputc('\'', file);
        }
        fputc(*text, file);
    }
    fputc('\'', file);
}

static void processor(char *text, size_t len)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];

    snprintf(text, len, "unknown processor");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        char *value = strstr(line, ": ");
        if (strncmp(line, "model name", 10) == 0 && value != NULL) {
            value[strcspn(value, "\n")] = '\0';
            snprintf(text, len, "%s", value + 2);
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

static const char *colour_of(const struct curve *curve)
{
    for (size_t i = 0; i < sizeof(colours) / sizeof(colours[0]); i++) {
        if (strcmp(colours[i].name, curve->name) == 0 && colours[i].path == (curve->label == NULL)) {
            return colours[i].colour;
        }
    }
    return "#666666";
}

static void write_axis(FILE *out, const struct bench_report *report)
{
    uint64_t least = UINT64_MAX, most = 0;
    bool first = true;
    char text[32];

    for (size_t i = 0; i < report->point_count; i++) {
        least = report->points[i].piece < least ? report->points[i].piece : least;
        most = report->points[i].piece > most ? report->points[i].piece : most;
    }
    fprintf(out, "set logscale x 2\nset xrange [%g:%g]\nset xtics (", (double)least / 1.3,
            (double)most * 1.3);
    for (uint64_t tic = 1; tic <= most; tic *= 4) {
        if (tic >= least) {
            fprintf(out, "%s'%s' %llu", first ? "" : ", ", kvfi_cli_bytes(tic, text, sizeof(text)),
                    (unsigned long long)tic);
            first = false;
        }
    }
    fputs(")\n", out);
}

static void write_curve_style(FILE *out, const struct curve *curve)
{
    bool path = curve->label == NULL, memcpys = strcmp(curve->name, "memcpy") == 0;

    fprintf(out, "with linespoints lw %s pt %d ps %s dt %s lc rgb '%s' ",
            path      ? "2.6"
            : memcpys ? "2.2"
                      : "1.5",
            path ? 7 : 6, path ? "0.5" : "0.4", path ? "1" : "(6,4)", colour_of(curve));
}

/* The curves of the rates have titles, those of the ratios are the same below. */
static void write_curves(FILE *out, const char *data, const struct curve *curves, size_t count, bool ratios)
{
    const char *separator = "plot ";

    for (size_t i = 0; i < count; i++) {
        char title[64];
        if (ratios && !curves[i].ratio) {
            continue;
        }
        fputs(separator, out);
        quote(out, data);
        fprintf(out, " index %zu using 1:%d ", i, ratios ? 3 : 2);
        write_curve_style(out, &curves[i]);
        snprintf(title, sizeof(title), "%s%s", curves[i].label == NULL ? "kvferry " : "",
                 curves[i].label == NULL ? curves[i].name : curves[i].label);
        fputs(ratios ? "notitle" : "title ", out);
        if (!ratios) {
            quote(out, title);
        }
        separator = ", \\\n";
    }
    fputc('\n', out);
}

static bool any_ratio(const struct curve *curves, size_t count)
{
    while (count > 0 && !curves[count - 1].ratio) {
        count--;
    }
    return count > 0;
}

static void write_titles(FILE *out, const struct bench_args *args)
{
    char model[200], title[400];

    processor(model, sizeof(model));
    snprintf(title, sizeof(title), "%s of scattered pieces, %s, net=%s: %s, %ld processors",
             args->dir == KVF_READ ? "Read" : "Write",
             args->hot ? "in the caches" : "more than the caches hold", args->net, model,
             sysconf(_SC_NPROCESSORS_ONLN));
    fputs("set title ", out);
    quote(out, title);
    snprintf(title, sizeof(title), "kvferry %s, UCX %s", kvf_version(), kvf_ucx_version());
    fputs(" noenhanced font ',15'\nset label 1 ", out);
    quote(out, title);
    fputs(" at screen 0.745, screen 0.125 left noenhanced tc rgb '#555555'\n"
          "set label 2 'solid: a path of kvferry' at screen 0.745, screen 0.205 left tc rgb '#555555'\n"
          "set label 3 'dashed: without kvferry' at screen 0.745, screen 0.175 left tc rgb '#555555'\n",
          out);
}

static void write_script(FILE *out, const char *picture, const struct bench_args *args,
                         const struct bench_report *report, const char *data, const struct curve *curves,
                         size_t count)
{
    bool ratios = any_ratio(curves, count);

    fputs("set terminal svg size 1120,860 font 'sans,14' background rgb 'white' dynamic\nset output ", out);
    quote(out, picture);
    fputs("\nset datafile missing '?'\nset multiplot\n"
          "set grid xtics ytics lc rgb '#dddddd' lw 0.8\nset border 3 lc rgb '#555555'\n"
          "set tics nomirror tc rgb '#333333'\n"
          "set lmargin at screen 0.075\nset rmargin at screen 0.715\n",
          out);
    write_axis(out, report);
    write_titles(out, args);
    fprintf(out,
            "set ylabel 'GB/s'\nset logscale y 10\n"
            "set key at screen 0.735, screen 0.93 left top Left reverse samplen 3 spacing 1.25 "
            "noenhanced\nset tmargin at screen 0.935\nset bmargin at screen %s\n"
            "set ytics (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)\n",
            ratios ? "0.47" : "0.085");
    write_curves(out, data, curves, count, false);
    if (ratios) {
        fputs("unset title\nunset label\nunset logscale y\nset ytics auto\nset yrange [0:*]\n"
              "set ylabel 'times memcpy'\nset xlabel 'bytes of a piece'\n"
              "set tmargin at screen 0.43\nset bmargin at screen 0.085\n",
              out);
        write_curves(out, data, curves, count, true);
    }
    fputs("unset multiplot\n", out);
}

/* Returns gnuplot's status, or -1 if it does not start. */
static int run_gnuplot(const char *picture, const struct bench_args *args, const struct bench_report *report,
                       const char *data, const struct curve *curves, size_t count)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    int status = -1;

    sigaction(SIGPIPE, &ignore, &before); /* a gnuplot that ends early is told by its status */
    FILE *pipe = popen("gnuplot", "we");
    if (pipe != NULL) {
        write_script(pipe, picture, args, report, data, curves, count);
        status = pclose(pipe);
    }
    sigaction(SIGPIPE, &before, NULL);
    return status;
}

static int draw(const struct bench_args *args, const struct bench_report *report, const char *data,
                const struct curve *curves, size_t count)
{
    struct kvfi_out out;

    if (kvfi_out_open("--plot", args->plot, &out) != 0) {
        return -1;
    }
    int status = run_gnuplot(kvfi_out_name(&out), args, report, data, curves, count);
    if (status == 0) {
        return kvfi_out_close(&out);
    }
    kvfi_out_drop(&out);
    return kvfi_cli_fail("--plot: gnuplot drew no %s (its exit code is %d); the figures are in %s",
                         args->plot, WIFEXITED(status) ? WEXITSTATUS(status) : -1, data);
}

int kvfi_bench_plot(const struct bench_args *args, const struct bench_report *report)
{
    struct curve curves[CURVES];
    size_t count = list_curves(report, curves);
    char *data = data_name(args->plot);
    int rc = data == NULL ? -1 : write_data(data, args, report, curves, count);

    rc = rc == 0 ? draw(args, report, data, curves, count) : rc;
    free(data);
    return rc;
}
