-- A browser's subscription ends with its session, however that ends: its address at a push service is then of no more use.
CREATE TRIGGER push_ends_with_session AFTER DELETE ON session BEGIN
    DELETE FROM push_subscription WHERE household = OLD.household AND session = substr(OLD.sha256, 1, 8);
END;
DELETE FROM push_subscription WHERE NOT EXISTS (
    SELECT 1 FROM session WHERE session.household = push_subscription.household
        AND substr(session.sha256, 1, 8) = push_subscription.session);
