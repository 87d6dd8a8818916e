/* Drawing: SVG with its own fonts' names only, for light and for dark pages. */
#include "tests/sim/diagram_internal.h"

#include <inttypes.h>
#include <string.h>

static void put_text(const char *text, FILE *file)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&': fputs("&amp;", file); break;
        case '<': fputs("&lt;", file); break;
        case '>': fputs("&gt;", file); break;
        case '"': fputs("&quot;", file); break;
        default: fputc((unsigned char)*text < 32 || (unsigned char)*text > 126 ? ' ' : *text, file);
        }
    }
}

static const char *class_of(enum diagram_colour colour)
{
    static const char *const classes[] = {
#define X(name, class, text, light, dark) class,
        DIAGRAM_COLOURS(X)
#undef X
    };
    return classes[colour];
}

static const char *colour_text(enum diagram_colour colour)
{
    static const char *const texts[] = {
#define X(name, class, text, light, dark) text,
        DIAGRAM_COLOURS(X)
#undef X
    };
    return texts[colour];
}

/* ---- style ---- */

static void put_style(FILE *f)
{
    fputs("<style>\n"
          "text{font:11px system-ui,'Segoe UI',Helvetica,Arial,'DejaVu Sans',sans-serif;"
          "fill:#334155}\n"
          ".card{fill:#ffffff;stroke:#d8dee9}.title{font-size:15px;font-weight:600;fill:#0f172a}\n"
          ".head{fill:#f1f5f9;stroke:#cbd5e1}.name{font-size:13px;font-weight:600;fill:#0f172a}\n"
          ".lane{stroke:#cbd5e1;stroke-width:1.5;fill:none}.dead{stroke-dasharray:2 5}\n"
          ".time{font-size:10px;fill:#94a3b8}.lab{font-size:10px;font-weight:600;stroke:#ffffff;"
          "stroke-width:3px;paint-order:stroke;stroke-linejoin:round}\n"
          ".band{fill:#fef3c7;opacity:.6}.bandt{font-weight:700;fill:#b45309;stroke:#fffbeb;"
          "stroke-width:3px;paint-order:stroke}.pend{fill:#f59e0b;opacity:.75}\n"
          ".exec{fill:#059669}.stab{fill:#0e7490}.view{fill:#b45309}"
          ".pill{font-size:9px;font-weight:700;fill:#ffffff}\n"
          ".fault{stroke:#e11d48;stroke-dasharray:5 4}.faultb{fill:#ffe4e6;stroke:#e11d48}"
          ".faultt{font-weight:700;fill:#9f1239}\n"
          ".gap{stroke:#94a3b8;stroke-dasharray:1 4;stroke-width:1.5}.gapb{fill:#ffffff}\n"
          ".badh{fill:#fee2e2;stroke:#dc2626}.badn{fill:#b91c1c}.badl{stroke:#fca5a5}\n"
          ".arrow{fill:none;stroke-width:1.3}.li.arrow{stroke-width:2}.cl.arrow{stroke-width:1;"
          "opacity:.7}.arrow.lost{opacity:.45}"
          ".cross{stroke-width:1.8;fill:none}\n",
          f);
#define X(name, class, text, light, dark)                                                          \
    fputs(                                                                                         \
        "." class ".arrow,." class ".cross{stroke:" light                                          \
                                   "}." class ".lab,#m-" class " path,." class ".dot{fill:" light  \
                                                                               "}\n",              \
        f);
    DIAGRAM_COLOURS(X)
#undef X
    fputs("@media (prefers-color-scheme:dark){text{fill:#cbd5e1}.card{fill:#0f172a;stroke:#334155}"
          ".title,.name{fill:#f1f5f9}.head{fill:#1e293b;stroke:#475569}.lane{stroke:#475569}"
          ".lab{stroke:#0f172a}.band{fill:#78350f;opacity:.35}.bandt{fill:#fcd34d;stroke:#451a03}"
          ".faultb{fill:#4c0519}.faultt{fill:#fda4af}.gapb{fill:#0f172a}.badh{fill:#450a0a}"
          ".badn{fill:#fca5a5}.badl{stroke:#7f1d1d}.time{fill:#64748b}.pill{fill:#ffffff}\n",
          f);
#define X(name, class, text, light, dark)                                                          \
    fputs("." class ".arrow,." class ".cross{stroke:" dark                                         \
                                     "}." class ".lab,#m-" class " path,." class ".dot{fill:" dark \
                                                                                 "}\n",            \
          f);
    DIAGRAM_COLOURS(X)
#undef X
    fputs("}\n</style>\n<defs>\n", f);
    for (int c = 0; c < DIAGRAM_COLOUR_COUNT; c++)
        fprintf(f,
                "<marker id=\"m-%s\" viewBox=\"0 0 8 8\" refX=\"7.4\" refY=\"4\" markerWidth=\"7\" "
                "markerHeight=\"7\" markerUnits=\"userSpaceOnUse\" orient=\"auto\">"
                "<path d=\"M0 .8 8 4 0 7.2 1.8 4z\"/></marker>\n",
                class_of((enum diagram_colour)c));
    fputs("</defs>\n", f);
}

/* ---- behind the messages ---- */

static const struct diagram_moment *moment_of(const struct diagram_drawing *d,
                                              const struct diagram_mark *mark)
{
    return &d->moments[mark->moment];
}

/* From the first correct replica that asks for a view to the last that is in it (or a later one).
 */
static void put_bands(const struct diagram_drawing *d, FILE *f)
{
    double right = d->width - 8;
    for (size_t i = 0; i < d->mark_count; i++) {
        const struct sim_seen *e = d->marks[i].seen;
        if (e->kind != SIM_SEEN_VIEW || e->active || e->byzantine) continue;
        double top = moment_of(d, &d->marks[i])->y, end = d->height - 26;
        uint64_t view = e->claim.view;
        bool installed = false;
        size_t k = i + 1;
        for (; k < d->mark_count; k++) {
            const struct sim_seen *o = d->marks[k].seen;
            if (o->kind != SIM_SEEN_VIEW || o->byzantine) continue;
            if (!o->active && installed && o->claim.view > view) break;
            if (o->claim.view > view && !installed) view = o->claim.view;
            if (!o->active) continue;
            installed = true;
            end = moment_of(d, &d->marks[k])->y;
        }
        fprintf(f, "<rect class=\"band\" x=\"8\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
                top - 12, right - 8, end - top + 24);
        double middle = (top + end) / 2;
        fprintf(f,
                "<text class=\"bandt\" text-anchor=\"middle\" transform=\"translate(26 %.1f) "
                "rotate(-90)\">view change to %" PRIu64 "%s</text>\n",
                middle, view, installed ? "" : " ...");
        i = k - 1;
    }
}

static void put_lane_line(const struct diagram_drawing *d, uint32_t lane, double from, double to,
                          bool dead, FILE *f)
{
    double x = diagram_x(d, lane);
    if (to > from)
        fprintf(f, "<path class=\"lane%s%s\" d=\"M%.1f %.1fV%.1f\"/>\n", dead ? " dead" : "",
                d->byzantine[lane] ? " badl" : "", x, from, to);
}

static void put_lane(const struct diagram_drawing *d, uint32_t lane, FILE *f)
{
    double from = DIAGRAM_TOP, end = d->height - 26;
    bool dead = d->dead_first[lane];
    for (size_t i = 0; i < d->mark_count && lane >= d->client_lanes; i++) {
        uint32_t id = 0;
        const struct diagram_mark *m = &d->marks[i];
        int death = m->seen->kind == SIM_SEEN_FAULT ? diagram_death(m->seen->text, &id) : 0;
        if (death == 0 || d->client_lanes + id != lane) continue;
        put_lane_line(d, lane, from, moment_of(d, m)->y, dead, f);
        from = moment_of(d, m)->y;
        dead = death > 0;
    }
    put_lane_line(d, lane, from, end, dead, f);
    char name[48], under[64] = "";
    if (lane >= d->client_lanes) {
        uint32_t id = lane - d->client_lanes;
        snprintf(name, sizeof name, "replica %" PRIu32, id);
        snprintf(under, sizeof under, "%s%s%s", d->byzantine[lane] ? "liar" : "",
                 d->byzantine[lane] && d->view_first % d->n == id ? ", " : "",
                 d->view_first % d->n == id ? "primary" : "");
    } else if (d->all_clients) {
        snprintf(name, sizeof name, "clients");
    } else {
        snprintf(name, sizeof name, "client %" PRIu32, d->client);
        if (d->byzantine[lane]) snprintf(under, sizeof under, "hostile");
    }
    double x = diagram_x(d, lane), half = d->spacing / 2 - 8;
    fprintf(f,
            "<rect class=\"%s\" x=\"%.1f\" y=\"50\" width=\"%.1f\" height=\"40\" rx=\"6\"/>\n"
            "<text class=\"name%s\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
            d->byzantine[lane] ? "badh" : "head", x - half, 2 * half,
            d->byzantine[lane] ? " badn" : "", x, under[0] == '\0' ? 75 : 68, name);
    if (under[0] != '\0')
        fprintf(f, "<text x=\"%.1f\" y=\"83\" text-anchor=\"middle\">%s</text>\n", x, under);
}

/* A bar on the lane while the replica has left its view and has no new one. */
static void put_pending(const struct diagram_drawing *d, FILE *f)
{
    double since[DIAGRAM_LANES_MAX] = {0};
    for (size_t i = 0; i <= d->mark_count; i++) {
        bool end = i == d->mark_count;
        const struct sim_seen *e = end ? NULL : d->marks[i].seen;
        if (!end && e->kind != SIM_SEEN_VIEW) continue;
        for (uint32_t lane = d->client_lanes; lane < d->lanes; lane++) {
            if (!end && d->client_lanes + e->from != lane) continue;
            double y = end ? d->height - 26 : moment_of(d, &d->marks[i])->y;
            if (since[lane] > 0 && (end || e->active)) {
                fprintf(f,
                        "<rect class=\"pend\" x=\"%.1f\" y=\"%.1f\" width=\"6\" height=\"%.1f\" "
                        "rx=\"3\"/>\n",
                        diagram_x(d, lane) - 3, since[lane], y - since[lane]);
                since[lane] = 0;
            } else if (!end && !e->active && since[lane] <= 0) {
                since[lane] = y;
            }
        }
    }
}

static void put_times(const struct diagram_drawing *d, FILE *f)
{
    double y = DIAGRAM_TOP;
    for (size_t i = 0; i < d->break_count; i++) {
        const struct diagram_break *b = &d->breaks[i];
        fprintf(f,
                "<rect class=\"gapb\" x=\"12\" y=\"%.1f\" width=\"%.1f\" height=\"18\"/>"
                "<path class=\"gap\" d=\"M12 %.1fH%.1fM12 %.1fH%.1f\"/>"
                "<text class=\"time\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.0f ms "
                "pass",
                b->y - 9, d->width - 24, b->y - 9, d->width - 12, b->y + 9, d->width - 12,
                d->width / 2, b->y + 3.5, (double)b->ns / 1e6);
        if (b->left_out > 0) fprintf(f, "; %zu messages are not drawn", b->left_out);
        fputs("</text>\n", f);
    }
    /* Moments are kept in the order of their making; times are put where there is room. */
    while (y < d->height) {
        const struct diagram_moment *at = NULL;
        for (size_t i = 0; i < d->moment_count; i++)
            if (d->moments[i].y >= y && (at == NULL || d->moments[i].y < at->y))
                at = &d->moments[i];
        if (at == NULL) break;
        fprintf(f,
                "<text class=\"time\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.2f ms</text>\n",
                d->left - 6, at->y + 3, (double)at->at_ns / 1e6);
        y = at->y + 60;
    }
}

/* ---- messages ---- */

static void put_arrow(const struct diagram_drawing *d, const struct diagram_arrow *a, FILE *f)
{
    const struct diagram_moment *s = &d->moments[a->sent], *r = &d->moments[a->arrived];
    double x0 = diagram_x(d, s->lane), x1 = diagram_x(d, a->to), y0 = s->y, y1 = r->y;
    const char *class = class_of(a->colour);
    bool lost = a->seen->kind == SIM_SEEN_LOST;
    if (a->sent == a->arrived) { /* lost at once: a part of the way */
        x1 = x0 + (x1 - x0) * 0.45;
        y1 = y0 + 9;
    }
    fprintf(f, "<path class=\"arrow %s%s\" d=\"M%.1f %.1f %.1f %.1f\"", class, lost ? " lost" : "",
            x0, y0, x1, y1);
    if (!lost) fprintf(f, " marker-end=\"url(#m-%s)\"", class);
    fputs("/>\n", f);
    if (lost)
        fprintf(f, "<path class=\"cross %s\" d=\"M%.1f %.1fl7 7m0-7l-7 7\"/>\n", class, x1 - 3.5,
                y1 - 3.5);
}

/* "PREPARE 5-7 9" */
static void put_label(const struct diagram_label *label, FILE *f)
{
    bool of_view = label->type == PBFT_VIEW_CHANGE || label->type == PBFT_NEW_VIEW;
    fprintf(f, "%s%s", pbft_type_text(label->type), of_view ? " to" : "");
    for (uint32_t i = 0, last = 0; i < label->count; i = last + 1) {
        for (last = i; last + 1 < label->count; last++)
            if (label->numbers[last + 1] != label->numbers[last] + 1) break;
        fprintf(f, "%s %" PRIu64, i > 0 ? "," : "", label->numbers[i]);
        if (last > i) fprintf(f, "-%" PRIu64, label->numbers[last]);
    }
    if (label->more) fputs(" ...", f);
}

static void put_labels(const struct diagram_drawing *d, FILE *f)
{
    for (size_t i = 0; i < d->moment_count; i++) {
        const struct diagram_moment *m = &d->moments[i];
        if (m->label_count == 0 || m->lane >= d->lanes) continue;
        double x = diagram_x(d, m->lane), y = m->y - 4;
        fprintf(f, "<circle class=\"dot %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/>\n",
                class_of(m->labels[0].colour), x, m->y);
        for (uint32_t k = m->label_count; k > 0; k--, y -= 11) {
            fprintf(f, "<text class=\"lab %s\" x=\"%.1f\" y=\"%.1f\">",
                    class_of(m->labels[k - 1].colour), x + 6, y);
            put_label(&m->labels[k - 1], f);
            fputs("</text>\n", f);
        }
    }
}

/* ---- marks ---- */

static void put_pill(double x, double y, const char *class, const char *text, FILE *f)
{
    double half = 5 + 2.8 * (double)strlen(text);
    fprintf(f,
            "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"12\" rx=\"6\"/>"
            "<text class=\"pill\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
            class, x - half, y - 6, 2 * half, x, y + 3.2, text);
}

static void put_line(const struct diagram_drawing *d, double y, const char *text, FILE *f)
{
    char brief[100];
    snprintf(brief, sizeof brief, "%s", text == NULL ? "" : text);
    double half = 14 + 3.4 * (double)strlen(brief), middle = d->width / 2;
    fprintf(f,
            "<path class=\"fault\" d=\"M%.1f %.1fH%.1f\"/><rect class=\"faultb\" x=\"%.1f\" "
            "y=\"%.1f\" width=\"%.1f\" height=\"20\" rx=\"10\"/><text class=\"faultt\" x=\"%.1f\" "
            "y=\"%.1f\" text-anchor=\"middle\">",
            d->left, y, d->width - 12, middle - half, y - 10, 2 * half, middle, y + 4);
    put_text(brief, f);
    fputs("</text>\n", f);
}

static void put_mark(const struct diagram_drawing *d, const struct diagram_mark *mark, FILE *f)
{
    const struct sim_seen *e = mark->seen;
    const struct diagram_moment *m = moment_of(d, mark);
    double x = m->lane < d->lanes ? diagram_x(d, m->lane) : 0;
    char text[64];
    switch (e->kind) {
    case SIM_SEEN_EXECUTED:
        snprintf(text, sizeof text, "%" PRIu64, e->claim.seq);
        if (mark->last > e->claim.seq)
            snprintf(text, sizeof text, "%" PRIu64 "-%" PRIu64, e->claim.seq, mark->last);
        put_pill(x - 10 - 2.8 * (double)strlen(text), m->y, "exec", text, f);
        return;
    case SIM_SEEN_STABLE:
        snprintf(text, sizeof text, "stable %" PRIu64, e->claim.seq);
        put_pill(x - 34, m->y + 9, "stab", text, f);
        return;
    case SIM_SEEN_VIEW:
        snprintf(text, sizeof text, "%s %" PRIu64, e->active ? "view" : "to view", e->claim.view);
        put_pill(x - 32, m->y, "view", text, f);
        return;
    case SIM_SEEN_TRANSFER:
        snprintf(text, sizeof text, "fetches %" PRIu64, e->claim.seq);
        put_pill(x - 36, m->y + 9, "stab", text, f);
        return;
    case SIM_SEEN_EVIDENCE:
        snprintf(text, sizeof text, "accuses %" PRIu32, e->to);
        put_pill(x - 36, m->y, "view", text, f);
        return;
    case SIM_SEEN_LIE:
        fprintf(f, "<text class=\"lab li\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", x - 6,
                m->y + 4);
        snprintf(text, sizeof text, "%.24s", e->text == NULL ? "" : e->text);
        put_text(text, f);
        fputs("</text>\n", f);
        return;
    case SIM_SEEN_FAULT:
    case SIM_SEEN_FAILURE: put_line(d, m->y, e->text, f); return;
    case SIM_SEEN_DELIVERED:
    case SIM_SEEN_LOST:
    case SIM_SEEN_LOG:
    case SIM_SEEN_SUBMITTED:
    case SIM_SEEN_ANSWERED: return;
    }
}

static void put_legend(const struct diagram_drawing *d, FILE *f)
{
    double x = 20, y = d->height;
    for (int c = 0; c < DIAGRAM_COLOUR_COUNT; c++) {
        const char *text = colour_text((enum diagram_colour)c);
        fprintf(f,
                "<path class=\"arrow %s\" d=\"M%.1f %.1fh18\"/><text x=\"%.1f\" "
                "y=\"%.1f\">%s</text>\n",
                class_of((enum diagram_colour)c), x, y - 4, x + 23, y, text);
        x += 35 + 6.8 * (double)strlen(text);
    }
    put_pill(x + 8, y - 4, "exec", "7", f);
    fprintf(f, "<text x=\"%.1f\" y=\"%.1f\">executed</text>\n", x + 20, y);
}

bool diagram_draw(const struct diagram_drawing *d, FILE *f)
{
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
            "viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n<title>",
            d->width, d->height + 18, d->width, d->height + 18);
    put_text(d->title, f);
    fputs("</title>\n", f);
    put_style(f);
    fprintf(f,
            "<rect class=\"card\" x=\".5\" y=\".5\" width=\"%.0f\" height=\"%.0f\" rx=\"10\"/>\n"
            "<text class=\"title\" x=\"20\" y=\"32\">",
            d->width - 1, d->height + 17);
    put_text(d->title, f);
    fputs("</text>\n", f);
    put_bands(d, f);
    for (uint32_t lane = 0; lane < d->lanes; lane++)
        put_lane(d, lane, f);
    put_pending(d, f);
    put_times(d, f);
    for (size_t i = 0; i < d->arrow_count; i++)
        put_arrow(d, &d->arrows[i], f);
    put_labels(d, f);
    for (size_t i = 0; i < d->mark_count; i++)
        put_mark(d, &d->marks[i], f);
    put_legend(d, f);
    fputs("</svg>\n", f);
    return fflush(f) == 0 && ferror(f) == 0;
}
