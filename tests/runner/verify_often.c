/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   `larder verify` of one place many times, for tests that damage it between: a process of its own for each would be most of
 *           the time. Reads a line for each proof, and answers it by the exit status of the command; what was said meanwhile goes
 *           to the file that the line names, written anew. The place is in the environment.
 *
 * LIMITS    Nobody may write there meanwhile: what may be under way is looked at again without a pause.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command/verify/command_verify.h"
#include "command/exit.h"
#include "kit/settings/settings.h"

static enum exit_status
prove(const char *words)
{
    static struct verify_survey survey;
    struct settings settings;
    struct err_text why = {""};
    if (freopen(words, "w", stdout) == NULL || dup2(STDOUT_FILENO, STDERR_FILENO) < 0) {
        return EXIT_USAGE;
    }
    err code = settings_init(&settings, &why);
    if (code == ERR_ok) {
        code = verify_all(&survey, &settings, &why);
    }
    if (code != ERR_ok) {
        fprintf(stderr, "%s\n", why.text);
    }
    return code == ERR_ok && survey.faults == 0 ? EXIT_DONE : EXIT_FAILED;
}

int
main(void)
{
    char words[4096];
    while (fgets(words, sizeof words, stdin) != NULL) {
        int status = 0;
        words[strcspn(words, "\n")] = '\0';
        pid_t child = fork();
        if (child == 0) {
            enum exit_status found = prove(words);
            fflush(stdout);
            _exit((int)found);
        }
        if (child < 0 || waitpid(child, &status, 0) != child) {
            return EXIT_FAILED;
        }
        printf("%d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
        fflush(stdout);
    }
    return 0;
}
