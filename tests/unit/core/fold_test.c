/* Events → the API's status: what people read of a run. */
#include "core/fold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"

static Aexec__AgentExecutionStatus *status_after(const Exec__Event *e)
{
    struct fold *f = fold_new();
    Aexec__AgentExecutionStatus *s;

    fold_apply(f, e);
    s = fold_take(f);
    fold_free(f);
    return s;
}

static const Aexec__AgentMessage *only_message(const Aexec__AgentExecutionStatus *s)
{
    assert_int_equal(s->n_messages, 1);
    return s->messages[0];
}

static void a_long_reason_of_a_cancel_is_whole_wherever_a_buffer_would_have_cut_it(void **state)
{
    Exec__Event e = EXEC__EVENT__INIT;
    Exec__Cancelled c = EXEC__CANCELLED__INIT;
    char reason[1002];

    (void)state;
    for (size_t lead = 0; lead < 2; lead++) { /* letters of two bytes, at even and at odd places */
        memset(reason, 'a', lead);
        for (size_t i = 0; i < 500; i++)
            memcpy(reason + lead + 2 * i, "\u0436", 2);
        reason[lead + 1000] = '\0';
        c.reason = reason;
        e.kind_case = EXEC__EVENT__KIND_CANCELLED;
        e.cancelled = &c;
        Aexec__AgentExecutionStatus *s = status_after(&e);
        const char *text = only_message(s)->content;
        assert_int_equal(str_utf8_check(text, strlen(text)), strlen(text));
        assert_string_equal(text + strlen("cancelled: "), reason);
        aexec__agent_execution_status__free_unpacked(s, NULL);
    }
}

static void what_a_person_says_is_a_message_of_a_person(void **state)
{
    Exec__Event e = EXEC__EVENT__INIT;
    Exec__InputReceived in = EXEC__INPUT_RECEIVED__INIT;

    (void)state;
    in.text = (char *)(uintptr_t) "gently";
    e.kind_case = EXEC__EVENT__KIND_INPUT_RECEIVED;
    e.input_received = &in;
    Aexec__AgentExecutionStatus *s = status_after(&e);
    assert_int_equal(only_message(s)->type, AEXEC__MESSAGE_TYPE__MESSAGE_HUMAN);
    assert_string_equal(only_message(s)->content, "gently");
    aexec__agent_execution_status__free_unpacked(s, NULL);
}

static void a_decision_is_told_and_counted(void **state)
{
    Exec__Event asked = EXEC__EVENT__INIT, decided = EXEC__EVENT__INIT;
    Exec__ApprovalRequested r = EXEC__APPROVAL_REQUESTED__INIT;
    Exec__ApprovalDecided d = EXEC__APPROVAL_DECIDED__INIT;
    struct fold *f = fold_new();

    (void)state;
    r.name = (char *)(uintptr_t) "execute";
    asked.kind_case = EXEC__EVENT__KIND_APPROVAL_REQUESTED;
    asked.approval_requested = &r;
    d.by = (char *)(uintptr_t) "uid 0";
    d.reason = (char *)(uintptr_t) "not now";
    decided.kind_case = EXEC__EVENT__KIND_APPROVAL_DECIDED;
    decided.approval_decided = &d;
    fold_apply(f, &asked);
    assert_int_equal(fold_peek(f)->counts->waiting_approvals, 1);
    assert_string_equal(only_message(fold_peek(f))->content, "execute needs a person's approval");
    fold_apply(f, &decided);
    assert_int_equal(fold_peek(f)->counts->waiting_approvals, 0);
    assert_string_equal(fold_peek(f)->messages[1]->content, "denied by uid 0: not now");
    fold_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_reason_of_a_cancel_is_whole_wherever_a_buffer_would_have_cut_it),
        cmocka_unit_test(what_a_person_says_is_a_message_of_a_person),
        cmocka_unit_test(a_decision_is_told_and_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
