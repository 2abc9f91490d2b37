from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('gallery', '0004_finishing_uploads'),
    ]

    operations = [
        migrations.AddField(
            model_name='photo',
            name='priority',
            field=models.SmallIntegerField(choices=[(0, 'somebody waits for it'), (1, 'an import'), (2, 'made anew, while there is something to go on with')], db_default=0, default=0, editable=False),
        ),
    ]
