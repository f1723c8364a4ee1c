/* tools-match.h — file name patterns: glob's, and .gitignore's lists of them
 * (git-scm.com/docs/gitignore). `*` and `?` stay within a name, `**` crosses folders, [sets], {a,b}
 * alternatives, \ takes the next character as it is. Pure text. */
#ifndef SVC_TOOLS_MATCH_H
#define SVC_TOOLS_MATCH_H

#include <stdbool.h>
#include <stddef.h>

/* path: relative, no leading "./". Bounded work: a hostile pattern gives false. */
bool tools_match(const char *pattern, const char *path);

struct tools_match_list; /* the patterns of one .gitignore */

struct tools_match_list *tools_match_list_parse(const char *text, size_t len);
void tools_match_list_free(struct tools_match_list *l);

/* path: relative to the folder of the .gitignore. 1 ignored, 0 taken back by "!", -1 not named. */
int tools_match_list_find(const struct tools_match_list *l, const char *path, bool is_folder);

#endif
